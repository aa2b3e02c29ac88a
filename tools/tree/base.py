# SPDX-License-Identifier: GPL-2.0-only
#
# The base: Debian's linux-source-6.12. Finds a version, checks that its
# tarball is what Debian shipped, and reads or unpacks it. Never writes outside
# build/.
import os
import re
import subprocess
import tarfile

from util import BUILD, ENV, Fail, rel, run, say

PACKAGE = 'linux-source-6.12'
TARBALL = '/usr/src/%s.tar.xz' % PACKAGE
BASES = os.path.join(BUILD, 'bases')
MIN_Y = 107
# Where the kernel code of ours has its names from.
NAMES = re.compile(r'(arch/arm64|include|mm|virt)/.*\.[chS]$')
# Of locals there are many alike; names of the kernel have an underscore.
WORD = re.compile(rb'\b[A-Za-z]+_\w+')


def installed():
    """The version of the installed package, or None."""
    out = run(['dpkg-query', '-W', '-f', '${db:Status-Status} ${Version}',
               PACKAGE], ok=(0, 1)).decode().split()
    return out[1] if out[:1] == ['installed'] else None


def offered():
    """Every version that apt lists and that we support, newest first."""
    out = run(['apt-cache', 'madison', PACKAGE]).decode()
    seen = []
    for line in out.splitlines():
        version = line.split('|')[1].strip()
        y = re.match(r'6\.12\.(\d+)', version)
        if y and int(y.group(1)) >= MIN_Y and version not in seen:
            seen.append(version)
    return seen


def tarball(version):
    """The tarball of this version: the installed one if it is that, else out
    of the .deb, which apt downloads and checks."""
    if version == installed():
        # dpkg compares the file with the sum in the package.
        if TARBALL in run(['dpkg', '--verify', PACKAGE],
                          ok=(0, 1)).decode():
            raise Fail('%s is not what package %s %s shipped; reinstall it: '
                       'apt-get install --reinstall %s' %
                       (TARBALL, PACKAGE, version, PACKAGE))
        return TARBALL
    out = os.path.join(BASES, '%s_%s.tar.xz' % (PACKAGE, version))
    if os.path.exists(out):
        return out
    if version not in offered():
        raise Fail('apt offers no %s %s; it offers: %s' %
                   (PACKAGE, version, ', '.join(offered()) or
                    'nothing (run apt-get update)'))
    os.makedirs(BASES, exist_ok=True)
    say('  fetching %s %s' % (PACKAGE, version))
    # As root, apt would hand the download to a user that may not write here.
    run(['apt-get', '-qq', '-o', 'APT::Sandbox::User=root', 'download',
         '%s=%s' % (PACKAGE, version)], cwd=BASES)
    deb = os.path.join(BASES, '%s_%s_all.deb' %
                       (PACKAGE, version.replace(':', '%3a')))
    fs = subprocess.Popen(['dpkg-deb', '--fsys-tarfile', deb],
                          stdout=subprocess.PIPE)
    with open(out + '.tmp', 'wb') as f:
        code = subprocess.call(['tar', '-xO', '.' + TARBALL],
                               stdin=fs.stdout, stdout=f)
    fs.stdout.close()
    if fs.wait() or code:
        raise Fail('%s holds no %s' % (rel(deb), TARBALL))
    os.unlink(deb)
    os.rename(out + '.tmp', out)
    return out


def choose(version=None):
    version = version or installed()
    if not version:
        raise Fail('package %s is not installed; run: make deps' % PACKAGE)
    y = re.match(r'6\.12\.(\d+)', version)
    if not y or int(y.group(1)) < MIN_Y:
        raise Fail('%s %s is too old; 6.12.%d or later is needed' %
                   (PACKAGE, version, MIN_Y))
    return version


def unpack(version, dest):
    """Unpack into dest and undo what Debian's packaging adds."""
    archive = tarball(version)
    os.makedirs(dest)
    run(['tar', '-xf', archive, '-C', dest, '--strip-components=1',
         '--no-same-owner', '-I', 'xz -T0'])
    # Debian's .gitignore ends by ignoring everything but debian/.
    path = os.path.join(dest, '.gitignore')
    with open(path) as f:
        text = f.read()
    with open(path, 'w') as f:
        f.write(cut_gitignore(text))


def cut_gitignore(text):
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if re.match(r'#.*debian', line, re.I) or line == '/*':
            while i and lines[i - 1].strip() == '#':
                i -= 1
            return '\n'.join(lines[:i]) + '\n'
    return text


def read(version, paths, words=None):
    """Read some files of a base straight from its tarball: ({path: bytes},
    all paths). Collects the words of NAMES in the set `words`, if there is one."""
    files, names = {}, set()
    xz = subprocess.Popen(['xz', '-dc', '-T0', tarball(version)],
                          stdout=subprocess.PIPE, env=ENV)
    with tarfile.open(fileobj=xz.stdout, mode='r|') as tar:
        for member in tar:
            path = member.name.split('/', 1)[-1]
            if member.isfile() or member.issym():
                names.add(path)
            named = words is not None and NAMES.match(path)
            if (path in paths or named) and member.isfile():
                data = tar.extractfile(member).read()
                if path in paths:
                    files[path] = data
                if named:
                    words.update(WORD.findall(data))
    xz.stdout.close()
    if xz.wait():
        raise Fail('cannot read the tarball of %s %s' % (PACKAGE, version))
    return files, names
