# SPDX-License-Identifier: GPL-2.0-only
#
# The kernel tree's side: a git work tree whose tag "base" is Debian's source
# and whose tag "applied" is that plus the delta as it was last applied or
# saved. Everything is a comparison of three git trees: the base, the applied
# one, and a snapshot of what is on disk. Never changes a file that holds
# unsaved edits.
import contextlib
import os
import re
import shutil
import tempfile

import delta as d
from util import ENV, Fail, TREE, many, rel, run

BASE = 'refs/tags/base'
APPLIED = 'refs/tags/applied'

# Some kernel directories ignore everything but a few patterns (a rule '*');
# there, these are still somebody's work and no build's droppings.
SOURCES = re.compile(r'(\.(c|h|S|rst|txt|config|py|sh|json|yaml|lds)|'
                     r'/(Makefile|Kconfig|Kbuild|config|settings|README))$')

DIFF = ('diff', '--no-color', '--no-ext-diff', '--no-textconv', '--no-renames',
        '--diff-algorithm=histogram', '--indent-heuristic', '-U3',
        '--inter-hunk-context=0', '--src-prefix=a/', '--dst-prefix=b/')


class Worktree:
    def __init__(self, path=TREE):
        self.path = path
        self.index = None           # a private index while one is in use

    def exists(self):
        return os.path.isdir(os.path.join(self.path, '.git'))

    def git(self, *args, data=None, ok=(0,), work=None, extra={}):
        env = dict(ENV, **extra)
        if args[0] != 'check-ignore':       # which does not know literal ones
            env['GIT_LITERAL_PATHSPECS'] = '1'
        if self.index:
            env['GIT_INDEX_FILE'] = self.index
        if work:
            env.update(GIT_WORK_TREE=work,
                       GIT_DIR=os.path.join(self.path, '.git'))
        return run(['git', '-c', 'core.excludesFile=/dev/null',
                    '-c', 'core.quotePath=false', *args],
                   data=data, env=env, cwd=work or self.path, ok=ok)

    def line(self, *args, **kw):
        return self.git(*args, **kw).decode().strip()

    def paths(self, *args):
        return {p for p in self.git(*args).decode().split('\0') if p}

    @contextlib.contextmanager
    def private_index(self, start=None):
        """Work on a copy of the index (or on a commit, or on '--empty'), so
        that what the developer has staged stays as it is."""
        git = os.path.join(self.path, '.git')
        with tempfile.TemporaryDirectory(dir=git, prefix='tree-') as tmp:
            self.index = os.path.join(tmp, 'index')
            try:
                if start:
                    self.git('read-tree', start)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copy2(os.path.join(git, 'index'), self.index)
                yield
            finally:
                self.index = None

    # --- what is known about the tree

    def version(self):
        """The Debian version that the base commit records."""
        words = self.line('log', '-1', '--format=%s', BASE).split()
        return words[-1]

    def has(self, ref):
        return bool(self.line('rev-parse', '-q', '--verify', ref + '^{tree}',
                              ok=(0, 1)))

    def applied(self):
        return APPLIED if self.has(APPLIED) else BASE

    def read(self, tree, path):
        if not self.line('ls-tree', tree, '--', path):
            return None
        return self.git('cat-file', 'blob', tree + ':' + path)

    def changed(self, a, b):
        """{path: (mode in a, mode in b)} of what differs between two trees."""
        words = self.git('diff-tree', '-r', '-z', '--no-renames', a,
                         b).decode().split('\0')
        out = {}
        for meta, path in zip(words[0::2], words[1::2]):
            old, new = meta[1:].split()[:2]
            out[path] = (old, new)
        return out

    def snapshot(self):
        """The work tree on disk as a git tree, build droppings left out."""
        with self.private_index():
            self.git('add', '-u', '.')
            new = self.paths('ls-files', '-z', '--others',
                             '--exclude-standard')
            hidden = self.paths('ls-files', '-z', '--others', '--ignored',
                                '--exclude-standard')
            ours = set(self.changed(BASE, self.applied()))
            new |= hidden & ours
            maybe = [p for p in hidden - ours if SOURCES.search(p)]
            if maybe:
                rules = self.git('check-ignore', '-v', '-z', '--stdin',
                                 data='\0'.join(maybe).encode() + b'\0',
                                 ok=(0, 1)).decode().split('\0')
                new |= {p for rule, p in zip(rules[2::4], rules[3::4])
                        if rule == '*'}
            new = {p for p in new if not d.junk(p)}
            if new:
                self.git('add', '-f', '--pathspec-from-file=-',
                         '--pathspec-file-nul',
                         data='\0'.join(sorted(new)).encode())
            return self.line('write-tree')

    # --- from the repository to a git tree

    def meaning(self, delta, only=None):
        """The git tree that base plus delta stands for. `only` limits it to
        some kernel paths. Fails with the patch and the hunk, changing nothing."""
        patches = sorted(p for p in delta.patches if not only or p in only)
        files = sorted(p for p in delta.files if not only or p in only)
        with self.private_index(BASE):
            base = self.paths('ls-files', '-z')
            for p in files:
                if p in base:
                    raise Fail('%s exists in the base: carry the change as '
                               '%s.patch' % (p, p))
            for p in patches:
                if p not in base:
                    raise Fail('%s.patch: linux-source %s has no %s' %
                               (p, self.version(), p))
            if patches:
                try:
                    self.git('apply', '--cached', '--whitespace=nowarn', '-p1',
                             *[delta.abs(p + '.patch') for p in patches])
                except Fail as err:
                    self.explain(delta, patches, err)
            if files:
                ids = self.git('hash-object', '-w', '--no-filters',
                               '--stdin-paths',
                               data='\n'.join(delta.abs(p) for p in files)
                               .encode()).decode().split()
                self.git('update-index', '--add', '--index-info',
                         data=''.join('%s %s\t%s\n' % (delta.mode(p), i, p)
                                      for p, i in zip(files, ids)).encode())
            return self.line('write-tree')

    def explain(self, delta, patches, err):
        """Turn a failed apply into one line per patch and hunk."""
        bad = []
        for p in patches:
            try:
                d.apply_one(p, self.read(BASE, p), delta.read(p + '.patch'),
                            self.version())
            except Fail as e:
                bad.append(str(e))
        if not bad:
            raise err
        raise Fail('\n  '.join(['the delta does not apply:'] + bad))

    # --- from a git tree to the repository

    def export(self, tree, paths, prose, prefix):
        """What the repository must hold for these kernel paths: a dict
        {repository path: (bytes, mode) or None for no such file}.
        prose(path) gives the bytes of the FILE.patch to keep text from."""
        out = {}
        changed = self.changed(BASE, tree)
        bad = []
        for p in sorted(paths):
            out[p] = out[p + '.patch'] = None
            if p not in changed:
                continue
            old, new = changed[p]
            if new[:3] not in ('100', '000'):
                bad.append('%s: only plain files can be carried' % p)
            elif old == '000000':
                if p.endswith('.patch') or p.split('/')[0] not in d.TOP or \
                   d.repo_only(p):
                    bad.append('%s: a new file cannot stand there' % p)
                out[p] = (self.read(tree, p), new)
            elif new != '000000' and old != new:
                bad.append('%s: the mode of a kernel file cannot change '
                           '(%s to %s)' % (p, old, new))
            else:
                out[p + '.patch'] = (self.patch(tree, p, prose(p), prefix(p)),
                                     '100644')
                if out[p + '.patch'][0] is None:
                    bad.append('%s: a binary or empty kernel file cannot '
                               'change' % p)
        if bad:
            raise Fail('this cannot be saved:\n' + many(bad))
        return out

    def patch(self, tree, path, old, prefix):
        diff = self.git(*DIFF, BASE, tree, '--', path)
        start = diff.find(b'\n--- ')
        if start < 0:
            return None
        diff = diff[start + 1:]
        if not old:
            return d.join(d.placeholder(path, prefix), diff)
        text, had = d.split(old, path + '.patch')
        # Positions alone are no reason to touch a patch: they move with the
        # base, and a save must not depend on which base it was made.
        return d.join(text, had if d.body(had) == d.body(diff) else diff)

    # --- moving the tree

    def init(self):
        """Make a repository of the unpacked source that stands at path."""
        self.git('init', '-q', '-b', 'work')
        # A background gc of the base would take minutes and gain nothing.
        self.git('config', 'gc.auto', '0')
        self.git('config', 'core.untrackedCache', 'true')

    def commit_base(self, source, version):
        """A commit of the unpacked base at source."""
        own = source == self.path
        index = contextlib.nullcontext() if own else \
            self.private_index('--empty')
        with index:
            self.git('add', '-f', '-A', '.', work=source)
            tree = self.line('write-tree')
        new = self.line('commit-tree', tree, '-m',
                        'base: linux-source-6.12 ' + version)
        if own:
            self.git('update-ref', 'HEAD', new)
            self.git('update-ref', BASE, new)
        return new

    def record(self, tree, message):
        """Make `tree` what is applied. HEAD follows, unless the developer has
        put commits of their own on it."""
        head = self.line('rev-parse', 'HEAD^{commit}')
        known = {self.line('rev-parse', r + '^{commit}')
                 for r in (BASE, self.applied())}
        new = self.line('commit-tree', tree, '-p', BASE, '-m', message)
        self.git('update-ref', APPLIED, new)
        if head in known:
            self.git('reset', '-q', new)

    def move(self, old, new):
        """Change the files on disk from tree old (which they must equal) to
        tree new, touching only those that differ."""
        with self.private_index():
            self.git('read-tree', old)
            self.git('update-index', '-q', '--refresh', ok=(0, 1))
            self.git('read-tree', '-m', '-u', old, new)

    def describe(self):
        return '%s (%s)' % (rel(self.path), self.version())
