# SPDX-License-Identifier: GPL-2.0-only
#
# The delta as a series of patches for git am, one per subsystem. Which path
# goes where, in which order and with which words is said by the SERIES files
# beside the code; this only follows them. Reads the tree, never changes it.
#
# A SERIES file:
#
#	Order: 20
#	Subject: KVM: arm64: protected guests
#	Paths: include/uapi/linux/kvm.h
#
#	The body.
#
# It takes every path of the delta below its own directory, and those that
# Paths: names (files, or directories with all below), unless another SERIES
# file names them more closely. A lower Order comes first.
import os
import re
import shutil

import delta as d
from util import Fail, REPO, many, rel, run, say
from worktree import BASE


class Part:
    def __init__(self, path, text):
        head, _, self.body = text.partition('\n\n')
        fields = dict(re.findall(r'^(Order|Subject|Paths):\s*(.*(?:\n\s+.*)*)',
                                 head, re.M))
        self.path = path
        self.subject = fields.get('Subject', '').strip()
        self.order = int(fields.get('Order', '0'))
        self.roots = [os.path.dirname(path)] + fields.get('Paths', '').split()
        if not (self.subject and self.order and self.body.strip()):
            raise Fail('%s needs "Order: N", "Subject: TEXT", an empty line '
                       'and a body' % path)

    def match(self, path):
        """How closely this part names path; 0 for not at all."""
        return max([len(r) for r in self.roots
                    if path == r or path.startswith(r.rstrip('/') + '/')],
                   default=0)


def parts(delta):
    found = [Part(p, delta.read(p).decode()) for p in delta.series]
    return sorted(found, key=lambda p: (p.order, p.path))


def owner(all_parts, path):
    best = max(all_parts, key=lambda p: p.match(path), default=None)
    return best if best and best.match(path) else None


def prefixes(delta):
    """A function from a path to the subject prefix that its patch starts
    with, such as 'KVM: arm64: '."""
    all_parts = parts(delta)

    def prefix(path):
        part = owner(all_parts, path)
        if part and ': ' in part.subject:
            return part.subject.rpartition(': ')[0] + ': '
        return os.path.dirname(path) + ': '
    return prefix


def author():
    """The environment that makes the caller the author of the patches."""
    ident = run(['git', 'var', 'GIT_AUTHOR_IDENT'], env=os.environ, cwd=REPO,
                ok=(0, 128)).decode()
    found = re.match(r'(.*) <(.*)> ', ident)
    if not found:
        raise Fail('git does not know who you are; set user.name and '
                   'user.email with git config')
    return {'GIT_AUTHOR_NAME': found.group(1),
            'GIT_AUTHOR_EMAIL': found.group(2)}


def export(wt, delta, out):
    tree = wt.meaning(delta)
    who = author()
    groups, lost = {}, []
    all_parts = parts(delta)
    for p in wt.changed(BASE, tree):
        part = owner(all_parts, p)
        if part:
            groups.setdefault(part, []).append(p)
        else:
            lost.append(p)
    if lost:
        raise Fail('no SERIES file covers these; add one beside them or list '
                   'them in its Paths::\n' + many(lost))
    tip = wt.line('rev-parse', BASE)
    taken = set()
    for part in sorted(groups, key=all_parts.index):
        taken.update(groups[part])
        step = wt.meaning(delta, only=taken)
        tip = wt.line('commit-tree', step, '-p', tip, '-F', '-', extra=who,
                      data=('%s\n\n%s\n' % (part.subject,
                                            part.body.strip())).encode())
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    wt.git('format-patch', '-q', '--zero-commit', '--no-signature', '-N',
           '--no-renames', '--diff-algorithm=histogram', '-o', out,
           BASE + '..' + tip)
    names = sorted(os.listdir(out))
    # The series must come to the same tree as the delta.
    with wt.private_index(BASE):
        for name in names:
            wt.git('apply', '--cached', '--whitespace=nowarn',
                   os.path.join(out, name))
        if wt.line('write-tree') != tree:
            raise Fail('the series does not add up to the delta')
    for name in names:
        say('  ' + rel(os.path.join(out, name)))
    say('%d patches for git am, on linux-source %s' %
        (len(names), wt.version()))
