# SPDX-License-Identifier: GPL-2.0-only
#
# What every part of the tree tool shares: the places, one kind of error, reading
# a file, and running a command. Knows nothing about deltas.
import hashlib
import os
import subprocess
import sys

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), '..', '..'))
BUILD = os.path.join(REPO, 'build')
TREE = os.path.join(BUILD, 'linux')

# Caller's git settings must change neither what is saved nor how it looks.
ENV = {k: v for k, v in os.environ.items() if not k.startswith('GIT_')}
ENV.update(LC_ALL='C', GIT_CONFIG_GLOBAL='/dev/null', GIT_CONFIG_NOSYSTEM='1',
           GIT_AUTHOR_NAME='tree', GIT_AUTHOR_EMAIL='tree@localhost',
           GIT_COMMITTER_NAME='tree', GIT_COMMITTER_EMAIL='tree@localhost')


class Fail(Exception):
    """A refusal: its text says what is wrong and what to do."""


def say(text):
    print(text, flush=True)


def rel(path):
    return os.path.relpath(path, REPO) if path.startswith(REPO) else path


def slurp(path):
    with open(path, 'rb') as f:
        return f.read()


def digest(*parts):
    """One name for all of these bytes, in this order."""
    return hashlib.sha256(b'\0'.join(parts)).hexdigest()


def run(argv, data=None, env=None, cwd=None, ok=(0,)):
    """Run argv and return its output as bytes; anything not in ok fails."""
    done = subprocess.run(argv, input=data, env=env or ENV, cwd=cwd,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode not in ok:
        err = done.stderr.decode(errors='replace').strip()
        raise Fail('%s failed (%d)%s' % (' '.join(argv[:6]), done.returncode,
                                         ': ' + err if err else ''))
    return done.stdout


def many(paths, limit=40):
    """A list of paths for a message, one per line."""
    paths = sorted(paths)
    lines = ['  ' + p for p in paths[:limit]]
    if len(paths) > limit:
        lines.append('  ... and %d more' % (len(paths) - limit))
    return '\n'.join(lines)


def main(fn):
    """Run fn; a Fail becomes one message and exit status 1."""
    try:
        sys.exit(fn() or 0)
    except Fail as err:
        sys.exit('%s: %s' % (os.path.basename(sys.argv[0]), err))
    except KeyboardInterrupt:
        sys.exit('interrupted')
