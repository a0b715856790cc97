// SPDX-License-Identifier: Apache-2.0
// A function as its configuration describes it. Immutable once loaded; lives as long as the program.
#ifndef BERTH_SHIM_FUNCTION_H
#define BERTH_SHIM_FUNCTION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUNCTION_VERSION     "$LATEST"
#define FUNCTION_ACCOUNT_ID  "000000000000" // the account that berthd's resources carry
#define FUNCTION_PAYLOAD_MAX (6u * 1024 * 1024)
#define FUNCTION_ASYNC_MAX   (1024u * 1024) // payload of an Event invocation
#define FUNCTION_NAME_MAX    64u

enum function_runtime { FUNCTION_PYTHON, FUNCTION_PROVIDED };

struct function {
    char *name;
    char *arn;
    enum function_runtime runtime;
    char *interpreter; // host path of the Python program; NULL for FUNCTION_PROVIDED
    char *handler;
    char *code_dir;  // absolute
    char *layer_dir; // absolute, or NULL
    unsigned timeout_seconds;
    unsigned memory_mib;
    unsigned tmp_mib;
    unsigned max_instances; // 0: every invocation is throttled, as with a reserved concurrency of 0
    json_t *variables;      // object of strings
    char *access_point_arn; // NULL: no file system
    char *access_point_id;  // points into access_point_arn
    char *mount_path;       // in the sandbox
};

struct functions {
    struct function *items;
    size_t count;
};

// What stands outside of the file but decides whether a function can run.
struct config_context {
    const char *region;
    unsigned default_max_instances;
    bool code_as_other_user; // the sandbox runs as FUNCTION_SANDBOX_UID: code must be readable by others
    bool host_paths;         // no sandbox: a LocalMountPath must already be a mount
};

#define FUNCTION_SANDBOX_UID 993 // Lambda's own, used when berth-fn runs as root
#define FUNCTION_SANDBOX_GID 990
#define CONFIG_ERROR_SIZE    512

// Reads and checks the file. 0, or -EINVAL with one line that names file, function and member.
int config_load(const char *path, const struct config_context *context, struct functions *ret_functions,
                char *error, size_t error_size);
void functions_free(struct functions *functions);
struct function *functions_find(const struct functions *functions, const char *name, size_t name_size);

#endif
