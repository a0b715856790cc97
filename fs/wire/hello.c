// SPDX-License-Identifier: Apache-2.0
// What a hello's proof covers. Pure; both sides compute it. Each part has its length in front or a fixed
// size, so no two conversations share an input.
#include "fs/wire/wire.h"
#include <string.h>

size_t wire_hello_proof_input(uint8_t *out, wire_bytes nonce, wire_bytes binding,
                              const struct wire_hello_request *hello)
{
    static const char label[] = "berth-hello-1";
    if (nonce.length != WIRE_NONCE_SIZE || binding.length > WIRE_BINDING_MAX)
        return 0;
    struct writer writer = writer_on(out, WIRE_HELLO_PROOF_INPUT_MAX);
    write_bytes(&writer, label, strlen(label));
    write_bytes(&writer, nonce.bytes, nonce.length);
    write_u16(&writer, (uint16_t)binding.length);
    write_bytes(&writer, binding.bytes, binding.length);
    write_u16(&writer, hello->access_point.length);
    write_bytes(&writer, hello->access_point.bytes, hello->access_point.length);
    write_u64(&writer, hello->session_high);
    write_u64(&writer, hello->session_low);
    write_u16(&writer, hello->version);
    write_u8(&writer, hello->want_read_only);
    return writer.failed ? 0 : WIRE_HELLO_PROOF_INPUT_MAX - writer.left;
}
