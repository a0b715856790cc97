// SPDX-License-Identifier: Apache-2.0
// An access key from where AWS tools look: the environment, or a profile of the shared-credentials file. Any
// thread that nobody changes the environment under.
#ifndef BERTH_CLIENT_AWS_PROFILE_H
#define BERTH_CLIENT_AWS_PROFILE_H

#define AWS_PROFILE_VALUE_SIZE 129

// profile NULL: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else the profile that AWS_PROFILE names, else
// [default]. The file is AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials. -ENOENT: no key, no such
// profile or no file; -EINVAL: one half of a key, or a value that is too long; or what reading the file
// failed with.
int aws_profile_load(const char *profile, char key[AWS_PROFILE_VALUE_SIZE],
                     char secret[AWS_PROFILE_VALUE_SIZE]);

#endif
