// SPDX-License-Identifier: Apache-2.0
// What a hello is answered with, as far as the main thread decides it: which access point, who asks, as whom
// its operations run. The shard does the rest (root directory, session).
#ifndef BERTH_SERVER_ATTACH_H
#define BERTH_SERVER_ATTACH_H

#include "server/address.h"
#include "server/catalogue.h"
#include "server/credentials.h"
#include "server/session.h"

#define ATTACH_REASON_SIZE 400u

// A hello that was let in; owned by one thread at a time.
struct attach {
    char fs_id[FS_ID_SIZE];
    char path[FS_AP_PATH_MAX + 1];
    bool make_root;
    uint32_t owner_uid, owner_gid, permissions;
    struct catalogue_quota fs_quota, root_quota; // when quotas_known
    bool quotas_known;
    struct session_identity identity; // its groups are owned
    uint64_t session_high, session_low;
    uint16_t version;
    uint32_t seq; // of the hello
    bool want_leases;
    char client_name[SESSION_TEXT_SIZE]; // printable
};

// 0, or an error for the peer with a reason for people. *ret_attach is to be freed with attach_free().
int attach_decide(struct catalogue *catalogue, const struct credentials *credentials, const uint8_t *nonce,
                  const struct peer *peer, const struct wire_hello_request *hello, struct attach **ret_attach,
                  char reason[ATTACH_REASON_SIZE]);
// Takes the quotas from the catalogue: the last thing before a shard gets it, so that no change is missed.
void attach_read_quotas(struct catalogue *catalogue, struct attach *attach);
void attach_free(struct attach *attach); // NULL is allowed

// The handle key of an access point.
void attach_handle_key(const uint8_t fs_key[SIPHASH_KEY_SIZE], const uint8_t ap_key[SIPHASH_KEY_SIZE],
                       uint8_t out[SIPHASH_KEY_SIZE]);
wire_handle attach_handle(const uint8_t key[SIPHASH_KEY_SIZE], fs_ino ino);

#endif
