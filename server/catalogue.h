// SPDX-License-Identifier: Apache-2.0
// The catalogue: which file systems and access points exist, with their tags and keys. Its own SQLite
// database, DIR/catalogue.db, synced at every change. Main thread only; objects returned are copies that the
// caller frees.
#ifndef BERTH_SERVER_CATALOGUE_H
#define BERTH_SERVER_CATALOGUE_H

#include "fs/base/env.h"
#include "fs/base/siphash.h"
#include "fs/types.h"

#define CATALOGUE_ACCOUNT_ID        "000000000000"
#define CATALOGUE_REGION            "us-east-1"
#define CATALOGUE_TAGS_MAX          50u
#define CATALOGUE_TAG_KEY_MAX       128u // characters, as EFS
#define CATALOGUE_TAG_VALUE_MAX     256u
#define CATALOGUE_TOKEN_MAX         64u    // characters
#define CATALOGUE_ACCESS_POINTS_MAX 10000u // of one file system, as EFS
#define CATALOGUE_FILE_SYSTEMS_MAX  1000u

struct catalogue;

struct catalogue_tag {
    char key[CATALOGUE_TAG_KEY_MAX * 4 + 1];
    char value[CATALOGUE_TAG_VALUE_MAX * 4 + 1];
};

struct catalogue_tags {
    size_t n;
    struct catalogue_tag *tag; // owned
};

// What a file system is doing; stored, so that a half-done create or delete is finished at the next start.
enum catalogue_state { CATALOGUE_CREATING, CATALOGUE_AVAILABLE, CATALOGUE_DELETING };

struct catalogue_quota {
    uint64_t max_bytes, max_inodes; // at most INT64_MAX; 0: none
};

struct file_system {
    uint64_t number; // grows from one to the next, never used again: the place in a listing
    char id[FS_ID_SIZE];
    char creation_token[CATALOGUE_TOKEN_MAX * 4 + 1];
    enum catalogue_state state;
    uint64_t created_ms; // since 1970
    bool encrypted;
    char performance_mode[16]; // as the API spells it
    char throughput_mode[16];
    double provisioned_mibps;      // 0: none
    uint8_t key[SIPHASH_KEY_SIZE]; // for handles
    struct catalogue_quota quota;
    struct catalogue_tags tags;
};

struct access_point {
    uint64_t number; // as file_system.number
    char id[FS_ID_SIZE];
    char file_system_id[FS_ID_SIZE];
    char client_token[CATALOGUE_TOKEN_MAX * 4 + 1];
    uint8_t key[SIPHASH_KEY_SIZE]; // for handles, mixed with the file system's
    bool has_user;
    uint32_t uid, gid;
    uint32_t n_groups;
    uint32_t groups[FS_AP_GROUPS_MAX];
    char path[FS_AP_PATH_MAX + 1];
    bool has_creation_info;
    uint32_t owner_uid, owner_gid, permissions;
    struct catalogue_quota quota; // its root directory's: access points with the same root have the same
    struct catalogue_tags tags;
};

// Opens DIR/catalogue.db, made when missing. -EPROTONOSUPPORT: written by a newer version; -EUCLEAN: damaged.
int catalogue_open(const char *directory, const struct env *env, struct catalogue **ret_catalogue);
void catalogue_close(struct catalogue *catalogue); // NULL is allowed

// Adds under a new id (written to fs->id, with fs->number, fs->key and created_ms). -EEXIST: the creation
// token is taken, and fs->id names by whom. -EDQUOT: too many. Otherwise fs is untouched on failure.
int catalogue_add_file_system(struct catalogue *catalogue, struct file_system *fs);
int catalogue_set_state(struct catalogue *catalogue, const char *fs_id, enum catalogue_state state);
int catalogue_remove_file_system(struct catalogue *catalogue, const char *fs_id); // and its access points
int catalogue_get_file_system(struct catalogue *catalogue, const char *fs_id,
                              struct file_system *ret); // -ENOENT
void file_system_clear(struct file_system *fs);

// As add_file_system; also -ENOENT: no such file system; -ENOTUNIQ: its root has another quota, as the access
// point that ap->id names says.
int catalogue_add_access_point(struct catalogue *catalogue, struct access_point *ap);
int catalogue_remove_access_point(struct catalogue *catalogue, const char *ap_id);
int catalogue_get_access_point(struct catalogue *catalogue, const char *ap_id,
                               struct access_point *ret); // -ENOENT
void access_point_clear(struct access_point *ap);

// The limits of a file system, or of an access point and all others with the same root. -ENOENT.
int catalogue_set_quota(struct catalogue *catalogue, const char *id, const struct catalogue_quota *quota);

// Tags of a file system or an access point. Adding replaces those with the same key; removing goes by key,
// and one that is not there is nothing. -ENOENT: no such object; -EDQUOT: there would be more than
// CATALOGUE_TAGS_MAX.
int catalogue_add_tags(struct catalogue *catalogue, const char *id, const struct catalogue_tags *tags);
int catalogue_remove_tags(struct catalogue *catalogue, const char *id, const struct catalogue_tags *keys);
int catalogue_get_tags(struct catalogue *catalogue, const char *id, struct catalogue_tags *ret_tags);
void catalogue_tags_clear(struct catalogue_tags *tags);

// In order of creation, those with a number above `after` (0: from the first), until visit returns false. The
// object lives for the call; visit changes nothing in the catalogue. fs_id NULL: of all file systems.
int catalogue_list_file_systems(struct catalogue *catalogue, uint64_t after,
                                bool (*visit)(void *context, const struct file_system *fs), void *context);
int catalogue_list_access_points(struct catalogue *catalogue, const char *fs_id, uint64_t after,
                                 bool (*visit)(void *context, const struct access_point *ap), void *context);

#endif
