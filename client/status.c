// SPDX-License-Identifier: Apache-2.0
// The mount's status as one flat JSON object, for `berth status`. Loop's thread. The session's id is a secret
// and is not told.
#include "client/mount.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct text {
    char *at;
    size_t left; // 0: it did not fit
    bool first;
};

static void put(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);

static void put(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->at, text->left, format, args);
    va_end(args);
    size_t used = n < 0 ? text->left : MIN((size_t)n, text->left ? text->left - 1 : 0);
    text->at += used;
    text->left -= used;
}

static void put_key(struct text *text, const char *key)
{
    put(text, "%s\"%s\": ", text->first ? "" : ", ", key);
    text->first = false;
}

static void put_number(struct text *text, const char *key, uint64_t value)
{
    put_key(text, key);
    put(text, "%" PRIu64, value);
}

static void put_bool(struct text *text, const char *key, bool value)
{
    put_key(text, key);
    put(text, value ? "true" : "false");
}

static void put_string(struct text *text, const char *key, const char *value)
{
    put_key(text, key);
    put(text, "\"");
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (c == '"' || c == '\\')
            put(text, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            put(text, "\\u%04x", c);
        else
            put(text, "%c", c);
    }
    put(text, "\"");
}

static const char *state_of(const struct mount *mount)
{
    if (rpc_refusal(mount->rpc))
        return "refused";
    return rpc_is_up(mount->rpc) ? "connected" : "reconnecting";
}

static void put_session(struct text *text, const struct mount *mount)
{
    static const char *const identities[] = {[WIRE_IDENTITY_ENFORCED] = "enforced",
                                             [WIRE_IDENTITY_CALLER] = "caller",
                                             [WIRE_IDENTITY_FIXED] = "fixed"};
    put_string(text, "access_point", mount->options.access_point);
    put_string(text, "file_system", mount->file_system);
    put_string(text, "server", mount->options.address.text);
    put_string(text, "mountpoint", mount->options.mountpoint);
    put_number(text, "pid", (uint64_t)getpid());
    put_string(text, "state", state_of(mount));
    put_string(text, "trouble", rpc_refusal(mount->rpc) ? rpc_refusal(mount->rpc) : mount->trouble);
    put_string(text, "identity", identities[mount->identity]);
    put_bool(text, "read_only", mount->read_only);
    put_bool(text, "soft", mount->options.soft);
    put_number(text, "lease_ms", mount->lease_ms);
    put_number(text, "incarnation", mount->incarnation);
}

// Inodes of which the kernel may keep something.
static size_t count_leases(const struct nodes *nodes)
{
    size_t n = nodes->root.lease != 0;
    for (struct table_node *entry = table_first(&nodes->by_id); entry;
         entry = table_next(&nodes->by_id, entry))
        n += CONTAINER_OF(entry, struct node, id)->lease != 0;
    return n;
}

static void put_counts(struct text *text, const struct mount *mount)
{
    const struct rpc_counts *counts = rpc_counts(mount->rpc);
    put_number(text, "uptime_seconds", (env_monotonic_ns(&mount->env) - mount->since_ns) / 1000000000u);
    put_number(text, "requests", mount->n_requests);
    put_number(text, "round_trips", counts->replies);
    put_number(text, "in_flight", rpc_in_flight(mount->rpc));
    put_number(text, "queued", rpc_queued(mount->rpc));
    put_number(text, "connections", counts->connections);
    put_number(text, "sessions", counts->sessions);
    put_number(text, "resumed", counts->resumed);
    put_number(text, "inodes", mount->nodes.by_id.count);
    put_number(text, "opens", mount->nodes.files.count - mount->kept_opens.n);
    put_number(text, "kept_opens", mount->kept_opens.n);
    put_number(text, "locks", mount->nodes.n_holds);
    put_number(text, "lock_waits", mount->waits.count);
    put_number(text, "lost_opens", mount->n_lost_opens);
    put_number(text, "lost_locks", mount->n_lost_locks);
    put_number(text, "cache_hits", mount->n_cache_hits); // the kernel's own are not told to us
    put_number(text, "leases", count_leases(&mount->nodes));
    put_number(text, "recalls", mount->n_recalls);
    put_number(text, "dirty_bytes", 0); // nothing is buffered
}

size_t status_json(const struct mount *mount, char *out, size_t size)
{
    struct text text = {.at = out, .left = size, .first = true};
    put(&text, "{");
    put_session(&text, mount);
    put_counts(&text, mount);
    put(&text, "}");
    return (size_t)(text.at - out);
}
