"""Runs a program as a container engine would: in a root of its own that cannot be written to, as another user, without privileges.

Called as `unshare --mount python3 enter.py DESCRIPTION`, the description in JSON:
root, mounts [[from, to, "ro" or "rw"]], read_only, user, group, cwd, env, command.
"""

import ctypes
import json
import os
import subprocess
import sys

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def main():
    wanted = json.loads(sys.argv[1])
    root = wanted["root"]
    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    for source, target, mode in wanted["mounts"]:
        place = root + target
        mount("--rbind", source, place)
        if mode == "ro":
            mount("-o", "remount,bind,ro", place)
    if wanted["read_only"]:
        mount("-o", "remount,bind,ro", root)
    os.chroot(root)
    os.chdir(wanted["cwd"])
    libc = ctypes.CDLL(None, use_errno=True)
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    os.setgroups([wanted["group"]])
    os.setgid(wanted["group"])
    os.setuid(wanted["user"])
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    command = wanted["command"]
    for folder in wanted["env"]["PATH"].split(":"):
        if "/" in command[0]:
            break
        if os.access(os.path.join(folder, command[0]), os.X_OK):
            command = [os.path.join(folder, command[0]), *command[1:]]
    os.execve(command[0], command, wanted["env"])


main()
