# SPDX-License-Identifier: GPL-2.0-only
#
# The repository's side: which of its files are delta, and the form of a
# FILE.patch. Reads the repository, writes only what put() and drop() are told.
import os
import re
import subprocess
import tempfile

from util import Fail, REPO, many, slurp

# What stands in the repository but not at a kernel path.
REPO_ONLY = ('.ci', '.gitignore', 'LICENSE', 'Makefile', 'README.md',
             'tools/deps', 'tools/qemu', 'tools/tree')
TOP = ('Documentation', 'arch', 'drivers', 'fs', 'include', 'kernel', 'lib',
       'mm', 'tools', 'virt')
SERIES = 'SERIES'
SKIP_DIRS = {'.git', 'build', '__pycache__'}
TODO = 'FIXME'


def repo_only(path):
    return (path.endswith('/' + SERIES) or
            any(path == r or path.startswith(r + '/') for r in REPO_ONLY))


def junk(path):
    """Droppings of editors and of patch(1); never part of anything."""
    return path.endswith(('~', '.orig', '.rej', '.swp', '.pyc'))


class Delta:
    """The delta as it stands under a directory laid out as the repository."""

    def __init__(self, root=REPO):
        self.root = root
        self.files = set()          # new files, at their kernel paths
        self.patches = set()        # kernel paths that have a FILE.patch
        self.series = set()         # the SERIES files
        stray = []
        for top, dirs, names in os.walk(root):
            dirs[:] = sorted(d for d in dirs if d not in SKIP_DIRS)
            for name in names:
                path = os.path.relpath(os.path.join(top, name), root)
                if path.startswith('.'):        # of editors and checkers
                    continue
                if path.endswith('/' + SERIES):
                    self.series.add(path)
                elif repo_only(path) or junk(path):
                    continue
                elif path.split('/')[0] not in TOP:
                    stray.append(path)
                elif path.endswith('.patch'):
                    self.patches.add(path[:-len('.patch')])
                else:
                    self.files.add(path)
        if stray:
            raise Fail('these files stand at no kernel path; move them or '
                       'list them in tools/tree/delta.py:\n' + many(stray))

    def abs(self, path):
        return os.path.join(self.root, path)

    def read(self, path):
        return slurp(self.abs(path))

    def mode(self, path):
        if os.path.islink(self.abs(path)):
            raise Fail('%s is a symbolic link; the delta takes plain files '
                       'only' % path)
        return '100755' if os.access(self.abs(path), os.X_OK) else '100644'

    def put(self, path, data, mode='100644'):
        """Replace path in one step, so that no half-written file is left."""
        dest = self.abs(path)
        os.makedirs(os.path.dirname(dest), exist_ok=True)
        tmp = dest + '.tmp~'
        with open(tmp, 'wb') as f:
            f.write(data)
        os.chmod(tmp, 0o755 if mode == '100755' else 0o644)
        os.replace(tmp, dest)

    def drop(self, path):
        if os.path.lexists(self.abs(path)):
            os.unlink(self.abs(path))
        top = os.path.dirname(path)
        while top and not os.listdir(self.abs(top)):
            os.rmdir(self.abs(top))
            top = os.path.dirname(top)


def split(patch, name='patch'):
    """A FILE.patch as (prose, diff); the prose ends before its '---' line."""
    found = re.search(rb'^--- (a/|/dev/null)', patch, re.M)
    if not found:
        raise Fail('%s holds no diff: it must have a "--- a/FILE" line' % name)
    prose, diff = patch[:found.start()], patch[found.start():]
    return re.sub(rb'\n*(^---\n)?\Z', b'', prose, flags=re.M), diff


def join(prose, diff):
    return prose.rstrip(b'\n') + b'\n---\n' + diff


def body(diff):
    """A diff without its positions, which move with the base."""
    return re.sub(rb'^@@ -.*$', b'@@', diff, flags=re.M)


def placeholder(path, prefix):
    """Prose for a new patch: enough to save it, not enough to pass."""
    return ('%s%s: hook %s\n\n%s: say why this file must change and what the '
            'change must never do.\n' %
            (prefix, TODO, os.path.basename(path), TODO)).encode()


def counts(diff):
    """Hunks, added and removed lines of a diff."""
    lines = diff.split(b'\n')[2:]
    return (sum(l.startswith(b'@@') for l in lines),
            sum(l.startswith(b'+') for l in lines),
            sum(l.startswith(b'-') for l in lines))


def apply_one(path, base, patch, version):
    """Apply one FILE.patch to the base's bytes with patch(1), no fuzz; return
    the new bytes, or say which hunk does not apply to which base."""
    name = path + '.patch'
    if base is None:
        raise Fail('%s: linux-source %s has no %s' % (name, version, path))
    diff = split(patch, name)[1]
    gone = b'+++ /dev/null' in diff.split(b'\n', 2)[1]
    if not gone and not diff.startswith(b'--- a/%b\n+++ b/%b\n' %
                                        (path.encode(), path.encode())):
        raise Fail('%s must change %s and nothing else' % (name, path))
    with tempfile.TemporaryDirectory() as tmp:
        work = os.path.join(tmp, 'file')
        with open(work, 'wb') as f:
            f.write(base)
        done = subprocess.run(
            ['patch', '--fuzz=0', '--no-backup-if-mismatch', '--reject-file=-',
             '--force', work], input=diff, env=dict(os.environ, LC_ALL='C'),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out = done.stdout.decode(errors='replace')
        if done.returncode == 0:
            if not os.path.exists(work):
                return b''
            with open(work, 'rb') as f:
                return f.read()
    bad = re.findall(r'^Hunk #(\d+) FAILED at (\d+)', out, re.M)
    total = counts(diff)[0]
    where = ', '.join('hunk %s of %d (line %s)' % (n, total, l) for n, l in bad)
    raise Fail('%s does not apply to linux-source %s: %s' %
               (name, version, where or out.strip().split('\n')[-1]))
