// SPDX-License-Identifier: Apache-2.0
// The command that starts one instance of a function: limits, bubblewrap with everything the function may
// see, its environment. Builds lists of strings and touches nothing; loop thread.
#ifndef BERTH_SHIM_SANDBOX_H
#define BERTH_SHIM_SANDBOX_H

#include "shim/function.h"

#define SANDBOX_ARGS_FD \
    3 // where bubblewrap reads its options: they hold the function's variables, `ps` must not

struct strings {
    char **items; // NULL-terminated, owned
    size_t count;
};

void strings_add(struct strings *strings, const char *text);
void strings_free(struct strings *strings);

struct sandbox {
    bool bubblewrap;       // false: the process runs as it is, with its own environment only
    bool as_root;          // berth-fn is root: the function is put under FUNCTION_SANDBOX_UID
    const char *bootstrap; // host path of bootstrap.py
    const char *etc_dir;   // host directory with passwd, group
    const char *region;
};

struct sandbox_instance {
    const struct function *function;
    const char *runtime_api; // HOST:PORT
    const char *log_stream;
    const char *mount_dir; // host path, or NULL
};

struct sandbox_command {
    struct strings argv;
    struct strings env;
    struct strings bwrap_args; // empty without bubblewrap
    const char *cwd;           // NULL: any
};

void sandbox_command_build(const struct sandbox *sandbox, const struct sandbox_instance *instance,
                           struct sandbox_command *command);
void sandbox_command_free(struct sandbox_command *command);

#endif
