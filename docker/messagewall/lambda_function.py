# SPDX-License-Identifier: Apache-2.0
"""MessageWall: a wall of messages in one shared file, in the shape of AWS's sample for Lambda with EFS.

Its locking is the sample's, on purpose: the message waits in Python's buffer until the `with` block closes the file,
which is after the exclusive lock was given back. What keeps concurrent messages whole is the file system's append.
"""
import fcntl
import os

WALL = "/mnt/msg/content"


def read_wall():
    try:
        with open(WALL) as wall:
            fcntl.flock(wall, fcntl.LOCK_SH)
            messages = wall.read()
            fcntl.flock(wall, fcntl.LOCK_UN)
    except Exception:
        return "No message yet."
    return messages


def add_message(message):
    with open(WALL, "a") as wall:
        fcntl.flock(wall, fcntl.LOCK_EX)
        wall.write(message + "\n")
        fcntl.flock(wall, fcntl.LOCK_UN)


def delete_wall():
    try:
        os.remove(WALL)
    except OSError:
        pass


def lambda_handler(event, context):
    method = event["requestContext"]["http"]["method"]
    if method == "GET":
        return read_wall()
    if method == "POST":
        add_message(event["body"])
        return read_wall()
    if method == "DELETE":
        delete_wall()
        return "Messages deleted."
    return "Method unsupported."
