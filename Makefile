# SPDX-License-Identifier: Apache-2.0
# make            build/bin/berthd, berth, berth-fn
# make deps       install what is missing (apt)
# make demo       the whole path end to end, printed
# make check      build, then every test; ends with `N passed, N failed, N skipped`
# make lint       clang-format, clang-tidy, cppcheck, include directions
# make install    DESTDIR= PREFIX=/usr/local
# SAN=address,undefined | SAN=thread    a sanitizer build, in its own folder
# DEBUG=1         no optimisation

PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= gcc
SAN     ?=

BUILD    := build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
comma    := ,
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wundef
CFLAGS   ?= $(if $(DEBUG),-O0,-O2) -g
ALL_CFLAGS  = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(WARNINGS) -fno-common -fstack-protector-strong \
              $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all) -I. $(CFLAGS) -MMD -MP
ALL_LDFLAGS = $(if $(SAN),-fsanitize=$(SAN)) -Wl,-z,relro,-z,now $(LDFLAGS)
PKG_CONFIG ?= pkg-config

# What each folder links, beside the folders that it may include.
LIBS_store  = $(shell $(PKG_CONFIG) --libs sqlite3)
LIBS_server = $(shell $(PKG_CONFIG) --libs libuv libcrypto libmicrohttpd jansson) $(LIBS_store)
LIBS_client = $(shell $(PKG_CONFIG) --libs fuse3 libuv libcrypto)
LIBS_cli    = $(shell $(PKG_CONFIG) --libs libcurl jansson)
LIBS_shim   = $(shell $(PKG_CONFIG) --libs libuv libmicrohttpd jansson)
PKG_CFLAGS  = $(shell $(PKG_CONFIG) --cflags fuse3 libuv libcrypto libmicrohttpd jansson libcurl sqlite3)

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard $(1)))

BASE_O   := $(call objects,fs/base/*.c fs/*.c)
WIRE_O   := $(call objects,fs/wire/*.c)
STORE_O  := $(call objects,fs/store/*.c)
CORE_O   := $(call objects,fs/core/*.c)
SERVER_O := $(call objects,server/*.c)
CLIENT_O := $(call objects,client/*.c)
CLI_O    := $(call objects,client/cli/*.c)
SHIM_O   := $(call objects,shim/*.c)
SERVER_LIB_O := $(filter-out $(BUILD)/obj/server/main.o,$(SERVER_O))
CLIENT_LIB_O := $(filter-out $(BUILD)/obj/client/main.o,$(CLIENT_O))
SHIM_LIB_O   := $(filter-out $(BUILD)/obj/shim/main.o,$(SHIM_O))

.PHONY: all deps demo check unit lint install clean
.SUFFIXES:

all: $(BUILD)/bin/berthd $(BUILD)/bin/berth $(BUILD)/bin/berth-api $(BUILD)/bin/berth-fn

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(PKG_CFLAGS) -c $< -o $@

$(BUILD)/bin/berthd: $(SERVER_O) $(CORE_O) $(STORE_O) $(WIRE_O) $(BASE_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $^ $(LIBS_server) -lpthread -o $@

$(BUILD)/bin/berth: $(CLIENT_O) $(WIRE_O) $(BASE_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $^ $(LIBS_client) -lpthread -o $@

# `berth fs|ap` run this one, so that a mount does not load an HTTP library.
$(BUILD)/bin/berth-api: $(CLI_O) $(BASE_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $^ $(LIBS_cli) -o $@

$(BUILD)/bin/berth-fn: $(SHIM_O) $(BASE_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $^ $(LIBS_shim) -lpthread -o $@

# --- unit tests: tests/unit/test_FOLDER_*.c links the objects of that folder and those below it ---

UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
UNIT_HELP_O := $(call objects,$(filter-out $(wildcard tests/unit/test_*.c),$(wildcard tests/unit/*.c)))
CMOCKA = $(shell $(PKG_CONFIG) --libs cmocka)

define unit_rule
$(BUILD)/unit/test_$(1)_%: $(BUILD)/obj/tests/unit/test_$(1)_%.o $(2)
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_LDFLAGS) $$^ $(3) $$(CMOCKA) -lpthread -o $$@
endef
$(eval $(call unit_rule,base,$(BASE_O)))
$(eval $(call unit_rule,wire,$(WIRE_O) $(BASE_O)))
$(eval $(call unit_rule,store,$(UNIT_HELP_O) $(STORE_O) $(BASE_O),$$(LIBS_store)))
$(eval $(call unit_rule,core,$(CORE_O) $(STORE_O) $(BASE_O),$$(LIBS_store)))
$(eval $(call unit_rule,server,$(SERVER_LIB_O) $(CORE_O) $(STORE_O) $(WIRE_O) $(BASE_O),$$(LIBS_server)))
$(eval $(call unit_rule,client,$(CLIENT_LIB_O) $(WIRE_O) $(BASE_O),$$(LIBS_client)))
$(eval $(call unit_rule,shim,$(SHIM_LIB_O) $(BASE_O),$$(LIBS_shim)))

unit: $(UNIT_TESTS)

clean:
	rm -rf build

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.SECONDARY:
