// SPDX-License-Identifier: Apache-2.0
// Identity, decided once: who a peer is and as whom its operations run. Main thread. Nothing a peer claims is
// believed unless it is uid 0 on the unix socket or has proved a key.
#include "server/attach.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY 65534u

PRINTF_LIKE(3, 4) static int refuse(char reason[ATTACH_REASON_SIZE], int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, ATTACH_REASON_SIZE, format, args);
    va_end(args);
    return error;
}

// --- the credential ---

static int check_proof(const struct credentials *credentials, const uint8_t *nonce,
                       const struct wire_hello_request *hello, struct session_identity *identity,
                       char *reason)
{
    if (hello->access_key.length == 0 && hello->proof.length == 0)
        return 0;
    const char *secret = credentials_secret(credentials, hello->access_key.bytes, hello->access_key.length);
    if (!secret || hello->access_key.length >= sizeof(identity->principal))
        return refuse(reason, -EACCES,
                      "the server does not know this access key: use one of DIR/credentials");
    uint8_t input[WIRE_HELLO_PROOF_INPUT_MAX], expected[HMAC_SIZE];
    wire_bytes nonce_bytes = {.bytes = nonce, .length = WIRE_NONCE_SIZE}, binding = {0};
    size_t n = wire_hello_proof_input(input, nonce_bytes, binding, hello);
    fs_assert(n > 0);
    hmac_sha256(secret, strlen(secret), input, n, expected);
    if (hello->proof.length != HMAC_SIZE ||
        !bytes_equal_constant_time(expected, hello->proof.bytes, HMAC_SIZE))
        return refuse(reason, -EACCES, "the secret does not belong to this access key");
    memcpy(identity->principal, hello->access_key.bytes, hello->access_key.length);
    identity->principal[hello->access_key.length] = '\0';
    return 0;
}

// --- the access point ---

static int find(struct catalogue *catalogue, const struct wire_hello_request *hello,
                struct access_point *ret_ap, struct file_system *ret_fs, char *reason)
{
    char id[FS_ID_SIZE] = "", shown[2 * FS_ID_SIZE];
    size_t length = hello->access_point.length;
    if (length < sizeof(id))
        memcpy(id, hello->access_point.bytes, length);
    int result = length < sizeof(id) ? catalogue_get_access_point(catalogue, id, ret_ap) : -ENOENT;
    if (result == -ENOENT)
        return refuse(reason, -ENOENT, "access point %s does not exist: `berth ap list` shows those that do",
                      log_text(shown, sizeof(shown), hello->access_point.bytes, length));
    if (result < 0)
        return refuse(reason, -EIO, "the catalogue cannot be read");
    result = catalogue_get_file_system(catalogue, ret_ap->file_system_id, ret_fs);
    if (result < 0) {
        access_point_clear(ret_ap);
        return refuse(reason, -EIO, "the file system of access point %s is not in the catalogue", id);
    }
    return 0;
}

static int check_state(const struct file_system *fs, char *reason)
{
    switch (fs->state) {
    case CATALOGUE_AVAILABLE:
        return 0;
    case CATALOGUE_CREATING:
        return refuse(reason, -EAGAIN, "file system %s is still being created: try again", fs->id);
    case CATALOGUE_DELETING:
        break;
    }
    return refuse(reason, -ENOENT, "file system %s is being deleted", fs->id);
}

// --- the identity ---

static int own_groups(struct session_identity *identity, const uint32_t *groups, uint32_t n)
{
    if (n == 0)
        return 0;
    identity->groups = malloc(n * sizeof(*groups));
    if (!identity->groups)
        return -ENOMEM;
    memcpy(identity->groups, groups, n * sizeof(*groups));
    identity->n_groups = n;
    return 0;
}

static int decide_identity(const struct access_point *ap, const struct peer *peer,
                           struct session_identity *identity)
{
    if (ap->has_user) {
        identity->how = WIRE_IDENTITY_ENFORCED;
        identity->uid = ap->uid;
        identity->gid = ap->gid;
        return own_groups(identity, ap->groups, ap->n_groups);
    }
    if (identity->principal[0] || (peer->is_unix && peer->uid == 0)) {
        identity->how = WIRE_IDENTITY_CALLER;
        return 0;
    }
    identity->how = WIRE_IDENTITY_FIXED;
    identity->uid = peer->is_unix ? peer->uid : NOBODY;
    identity->gid = peer->is_unix ? peer->gid : NOBODY;
    return peer->is_unix ? own_groups(identity, peer->groups, peer->n_groups) : 0;
}

void attach_handle_key(const uint8_t fs_key[SIPHASH_KEY_SIZE], const uint8_t ap_key[SIPHASH_KEY_SIZE],
                       uint8_t out[SIPHASH_KEY_SIZE])
{
    uint8_t input[SIPHASH_KEY_SIZE + 1];
    memcpy(input, ap_key, SIPHASH_KEY_SIZE);
    for (uint8_t half = 0; half < 2; half++) {
        input[SIPHASH_KEY_SIZE] = half;
        uint64_t hash = siphash24(fs_key, input, sizeof(input));
        struct writer writer = writer_on(out + half * sizeof(hash), sizeof(hash));
        write_u64(&writer, hash);
    }
}

wire_handle attach_handle(const uint8_t key[SIPHASH_KEY_SIZE], fs_ino ino)
{
    uint8_t bytes[sizeof(ino)];
    struct writer writer = writer_on(bytes, sizeof(bytes));
    write_u64(&writer, ino);
    return (wire_handle){.ino = ino, .mac = siphash24(key, bytes, sizeof(bytes))};
}

// --- all of it ---

static void describe(struct attach *attach, const struct access_point *ap, const struct file_system *fs,
                     const struct wire_hello_request *hello)
{
    memcpy(attach->fs_id, fs->id, sizeof(attach->fs_id));
    memcpy(attach->path, ap->path, sizeof(attach->path));
    attach->make_root = ap->has_creation_info;
    attach->owner_uid = ap->owner_uid;
    attach->owner_gid = ap->owner_gid;
    attach->permissions = ap->permissions;
    attach->session_high = hello->session_high;
    attach->session_low = hello->session_low;
    attach->version = hello->version;
    attach->want_leases = hello->want_leases;
    log_text(attach->client_name, sizeof(attach->client_name), hello->client_name.bytes,
             hello->client_name.length);
    memcpy(attach->identity.access_point, ap->id, sizeof(attach->identity.access_point));
    attach->identity.read_only = hello->want_read_only;
    attach_handle_key(fs->key, ap->key, attach->identity.handle_key);
}

static int decide(struct catalogue *catalogue, const struct peer *peer,
                  const struct wire_hello_request *hello, struct attach *attach, char *reason)
{
    struct access_point ap;
    struct file_system fs;
    int result = find(catalogue, hello, &ap, &fs, reason);
    if (result < 0)
        return result;
    result = check_state(&fs, reason);
    if (result == 0) {
        describe(attach, &ap, &fs, hello);
        result = decide_identity(&ap, peer, &attach->identity);
    }
    access_point_clear(&ap);
    file_system_clear(&fs);
    return result;
}

int attach_decide(struct catalogue *catalogue, const struct credentials *credentials, const uint8_t *nonce,
                  const struct peer *peer, const struct wire_hello_request *hello, struct attach **ret_attach,
                  char reason[ATTACH_REASON_SIZE])
{
    reason[0] = '\0';
    if (hello->version < WIRE_VERSION_MIN || hello->version > WIRE_VERSION_MAX)
        return refuse(reason, -EPROTO, "this server speaks protocol versions %d to %d, not %u",
                      WIRE_VERSION_MIN, WIRE_VERSION_MAX, hello->version);
    if (hello->want_read_only > 1)
        return refuse(reason, -EINVAL, "want_read_only is neither 0 nor 1");
    if (hello->want_leases > 1)
        return refuse(reason, -EINVAL, "want_leases is neither 0 nor 1");
    struct attach *attach = calloc(1, sizeof(*attach));
    if (!attach)
        return -ENOMEM;
    int result = check_proof(credentials, nonce, hello, &attach->identity, reason);
    if (result == 0)
        result = decide(catalogue, peer, hello, attach, reason);
    if (result < 0)
        attach_free(attach);
    else
        *ret_attach = attach;
    return result;
}

// An access point that was deleted meanwhile lets in whom it has let in, and says nothing of quotas any more.
void attach_read_quotas(struct catalogue *catalogue, struct attach *attach)
{
    struct access_point ap;
    struct file_system fs;
    if (catalogue_get_access_point(catalogue, attach->identity.access_point, &ap) < 0)
        return;
    if (catalogue_get_file_system(catalogue, ap.file_system_id, &fs) == 0) {
        attach->fs_quota = fs.quota;
        attach->root_quota = ap.quota;
        attach->quotas_known = true;
        file_system_clear(&fs);
    }
    access_point_clear(&ap);
}

void attach_free(struct attach *attach)
{
    if (!attach)
        return;
    free(attach->identity.groups);
    free(attach);
}
