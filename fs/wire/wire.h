// SPDX-License-Identifier: Apache-2.0
// The language that client and server speak: framing and codec. The bytes are described in docs/PROTOCOL.md;
// the messages are declared in messages.def. Pure functions on caller's memory; any thread.
//
// A frame is a header of WIRE_HEADER_SIZE bytes and a body, all little-endian:
//
//     u32 length   of the whole frame, header included; at most WIRE_FRAME_MAX
//     u16 op       the number of a call or event
//     u16 slot     of the session; 0 for hello and for events
//     u32 seq      of the slot; 0 for events
//     u32 status   request: WIRE_WITH_CRED or 0; reply: 0 or a positive Linux errno
//
// A request with WIRE_WITH_CRED starts with the caller's credentials. The body of a reply with an error is
// one `text`, a reason for people, often empty.
#ifndef BERTH_WIRE_H
#define BERTH_WIRE_H

#include "fs/base/cursor.h"
#include "fs/types.h"
#include "fs/wire/messages.def"

#define WIRE_MAGIC       0x68747242u // "Brth"
#define WIRE_VERSION_MIN 1
#define WIRE_VERSION_MAX 1
#define WIRE_HEADER_SIZE 16
#define WIRE_BODY_EXTRA  8192u                         // room beside the payload: names, attributes, groups
#define WIRE_FRAME_MAX   (FS_IO_MAX + WIRE_BODY_EXTRA) // bytes
enum wire_setlk_how { WIRE_SETLK_PLAIN, WIRE_SETLK_RECLAIM, WIRE_SETLK_UNDETECTED };

// What a client may keep, and what it is told to drop.
#define WIRE_LEASE_ATTR  1u  // the attributes
#define WIRE_LEASE_NAME  2u  // that the name leads there, or nowhere
#define WIRE_LEASE_DATA  4u  // the bytes
#define WIRE_LEASE_NAMES 8u  // that a directory has the names that were listed, or none, and no others
#define WIRE_LEASE_OPEN  16u // the open itself, as long as the attributes
#define WIRE_DROP_ATTR   1u
#define WIRE_DROP_NAME   2u // one name of a directory
#define WIRE_DROP_NAMES  4u // all names of a directory
#define WIRE_DROP_DATA   8u
#define WIRE_DROP_TREE   16u    // everything that is kept: it may have been moved out of the session's root
#define WIRE_INODES_MAX  4096u  // in one forget or kept, and opens in one closed
#define WIRE_FIRST_MAX   16384u // bytes of a file that come with its open
#define WIRE_KEPT_OPEN_S 60u    // for so long an open may be kept, from its request on

#define WIRE_TEXT_MAX    512u // bytes of a `text`
#define WIRE_NONCE_SIZE  16u
#define WIRE_PROOF_SIZE  32u
#define WIRE_WITH_CRED   1u

// How a session's operations are judged.
enum wire_identity {
    WIRE_IDENTITY_ENFORCED, // by the access point's POSIX user; no credentials are sent
    WIRE_IDENTITY_CALLER,   // by the caller's credentials, which every request brings
    WIRE_IDENTITY_FIXED,    // by one identity that the server chose; no credentials are sent
};

enum wire_op {
#define WIRE_OP(NAME, name, number, repeatable) WIRE_##NAME = (number),
    WIRE_CALLS(WIRE_OP)
#undef WIRE_OP
#define WIRE_OP(NAME, name, number) WIRE_##NAME = (number),
        WIRE_EVENTS(WIRE_OP)
#undef WIRE_OP
};
#define WIRE_OP_LIMIT 71 // one past the largest number

struct wire_header {
    uint32_t length;
    uint16_t op;
    uint16_t slot;
    uint32_t seq;
    uint32_t status;
};

// --- field types ---

typedef uint8_t wire_u8;
typedef uint16_t wire_u16;
typedef uint32_t wire_u32;
typedef uint64_t wire_u64;

// What a client names an inode by: mac = SipHash-2-4(key of access point and file system, ino).
typedef struct wire_handle {
    fs_ino ino;
    uint64_t mac;
} wire_handle;

typedef struct fs_attr wire_attr;        // a known type, size at most FS_FILE_SIZE_MAX, valid times
typedef struct fs_time wire_time;        // nsec < 1,000,000,000
typedef struct fs_lock wire_lock;        // known kind and type, start <= end <= INT64_MAX
typedef struct fs_name wire_name;        // u16 length, bytes: a name that an entry may have (fs_name_check)
typedef struct fs_name wire_lookup_name; // the same, or "." or ".."

// Not owned: decoded ones point into the frame.
typedef struct wire_bytes { // u32 length, bytes
    const void *bytes;
    uint32_t length;
} wire_bytes;

typedef struct wire_text { // u16 length, bytes, at most WIRE_TEXT_MAX, no NUL
    const char *bytes;
    uint16_t length;
} wire_text;

typedef struct wire_entry {
    wire_handle handle;
    wire_attr attr;
} wire_entry;

typedef struct wire_maybe_entry { // u8 0, or u8 1 and an entry
    bool there;
    wire_entry entry;
} wire_maybe_entry;

// --- message structs: struct wire_lookup_request, struct wire_lookup_reply, struct wire_granted_event, … ---

#define WIRE_MEMBER(type, member) wire_##type member;
#define WIRE_STRUCTS(NAME, name, number, repeatable) \
    struct wire_##name##_request {                   \
        WIRE_##NAME##_REQUEST(WIRE_MEMBER)           \
    };                                               \
    struct wire_##name##_reply {                     \
        WIRE_##NAME##_REPLY(WIRE_MEMBER)             \
    };
WIRE_CALLS(WIRE_STRUCTS)
#undef WIRE_STRUCTS
#define WIRE_STRUCTS(NAME, name, number) \
    struct wire_##name##_event {         \
        WIRE_##NAME##_EVENT(WIRE_MEMBER) \
    };
WIRE_EVENTS(WIRE_STRUCTS)
#undef WIRE_STRUCTS
#undef WIRE_MEMBER

// --- codec ---
// get: every field must be valid and the whole body used up, else -EPROTO. put: appends to the writer; what
// does not fit, or what get would refuse, is a sticky failure (writer->failed). What a field's type does not
// say (flags, masks, modes, enumerations in a u8, counts) is the receiver's to judge.

#define WIRE_CODECS(NAME, name, number, repeatable)                                                   \
    int wire_get_##name##_request(struct reader *body, struct wire_##name##_request *ret);            \
    int wire_get_##name##_reply(struct reader *body, struct wire_##name##_reply *ret);                \
    void wire_put_##name##_request(struct writer *body, const struct wire_##name##_request *message); \
    void wire_put_##name##_reply(struct writer *body, const struct wire_##name##_reply *message);
WIRE_CALLS(WIRE_CODECS)
#undef WIRE_CODECS
#define WIRE_CODECS(NAME, name, number)                                                \
    int wire_get_##name##_event(struct reader *body, struct wire_##name##_event *ret); \
    void wire_put_##name##_event(struct writer *body, const struct wire_##name##_event *message);
WIRE_EVENTS(WIRE_CODECS)
#undef WIRE_CODECS

// --- framing ---

// Decodes a header and checks what can be checked alone: length in WIRE_HEADER_SIZE..WIRE_FRAME_MAX. An
// unknown op is not an error here: it is answered with ENOSYS. -EPROTO otherwise.
int wire_get_header(const uint8_t bytes[WIRE_HEADER_SIZE], struct wire_header *ret_header);
void wire_put_header(uint8_t bytes[WIRE_HEADER_SIZE], const struct wire_header *header);

// The credentials in front of a request's body; groups are copied to `groups` (at most FS_GROUPS_MAX, else
// -EPROTO).
int wire_get_cred(struct reader *body, struct fs_cred *ret_cred, uint32_t groups[FS_GROUPS_MAX]);
void wire_put_cred(struct writer *body, const struct fs_cred *cred);

// "lookup", "granted", …; "unknown" for a number that is none.
const char *wire_op_name(uint16_t op);
bool wire_op_is_call(uint16_t op);
// May this call be sent again on a new connection although its first copy may have been executed?
bool wire_op_repeatable(uint16_t op);

// --- packed directory entries ---

struct wire_dirent {
    wire_handle handle; // mac 0 for "." and ".."
    uint64_t cookie;
    uint32_t type; // S_IFMT bits
    struct fs_name name;
    bool has_attr;
    uint8_t lease; // WIRE_LEASE_*, 0 without attr
    struct fs_attr attr;
};

// put: false, and nothing written, when it does not fit. get: 1 an entry, 0 the end, -EPROTO.
bool wire_put_dirent(struct writer *entries, const struct wire_dirent *dirent);
int wire_get_dirent(struct reader *entries, struct wire_dirent *ret_dirent);

// --- hello ---

// What the proof of a hello is the HMAC of: every part that varies in length has its length in front. out has
// room for WIRE_HELLO_PROOF_INPUT_MAX bytes. Returns its length, or 0 when the nonce is not of
// WIRE_NONCE_SIZE or the binding is longer than WIRE_BINDING_MAX. `binding` is the TLS channel binding, empty
// without TLS.
#define WIRE_BINDING_MAX           64u
#define WIRE_HELLO_PROOF_INPUT_MAX (128u + WIRE_BINDING_MAX + WIRE_TEXT_MAX)
size_t wire_hello_proof_input(uint8_t *out, wire_bytes nonce, wire_bytes binding,
                              const struct wire_hello_request *hello);

#endif
