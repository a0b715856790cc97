# SPDX-License-Identifier: Apache-2.0
# make            build/bin/berthd, berth, berth-api, berth-fn
# make deps       install what is missing to build and run (apt)
# make demo       the whole path end to end, printed
# make check      build, then every test; ends with `N passed, N failed, N skipped`
#                 CHECK='-f WORD': only what has the word in its name; tests/run --help tells more
# make lint       clang-format, clang-tidy, cppcheck, include directions
# make install    DESTDIR= PREFIX=/usr/local
# make conformance PJDFSTEST=DIR    run a built pjdfstest checkout on a fresh mount
# make exercise   random operations on two mounts and the host in step (MINUTES=10 SEED=n; KILL=1: with killed servers)
# make torture    random work on three mounts while server and clients are killed, stopped and parted (MINUTES=10 SEED=n;
#                 LOGS=DIR: where the logs go when a promise is broken)
# make coherence  random operations on four mounts, judged for linearizability (MINUTES=10 SEED=n); with ROUNDS=3000 the
#                 litmuses first, so many rounds of each
# make valgrind   every unit test under valgrind's memcheck; two of them do a part of their work
# make exercise-bigdir              a directory of a million entries through two mounts (ENTRIES=N)
# make exercise-precedence          every call that fails in two ways, as the host tells it
# make exercise-programs            dbench and stress-ng on two mounts, a minute each (SECONDS=N); npm with 3,000 files
# SAN=address,undefined | SAN=thread    a sanitizer build, in its own folder; works with check too
# DEBUG=1         no optimisation, in its own folder

PREFIX  ?= /usr/local
DESTDIR ?=
ifeq ($(origin CC),default)
CC      := gcc
endif
SAN     ?=
DEBUG   ?=
CHECK   ?=

comma    := ,
BUILD    := build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))$(if $(DEBUG),/debug)
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wundef
CFLAGS   ?= $(if $(DEBUG),-O0,-O2) -g
ALL_CFLAGS  = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(WARNINGS) -fno-common -fstack-protector-strong \
              $(if $(SAN)$(DEBUG),,-D_FORTIFY_SOURCE=2) \
              $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all) -I. $(CFLAGS) -MMD -MP
ALL_LDFLAGS = $(if $(SAN),-fsanitize=$(SAN)) -Wl,-z,relro,-z,now $(LDFLAGS)
PKG_CONFIG ?= pkg-config

# What each folder links, beside the folders that it may include. Evaluated after `deps`: whatever installs packages and
# then builds does so through a second make.
pkg_libs    = $(shell $(PKG_CONFIG) --libs $(1) 2>/dev/null)
PACKAGES    := fuse3 libuv libcrypto libmicrohttpd jansson libcurl sqlite3
LIBS_store  := $(call pkg_libs,sqlite3)
LIBS_server := $(call pkg_libs,libuv libcrypto libmicrohttpd jansson) $(LIBS_store)
LIBS_client := $(call pkg_libs,fuse3 libuv libcrypto)
LIBS_cli    := $(call pkg_libs,libcurl jansson) -lpthread -lm
LIBS_shim   := $(call pkg_libs,libuv libmicrohttpd jansson)
PKG_CFLAGS  := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard $(1)))

BASE_O   := $(call objects,fs/base/*.c fs/*.c)
WIRE_O   := $(call objects,fs/wire/*.c)
STORE_O  := $(call objects,fs/store/*.c)
CORE_O   := $(call objects,fs/core/*.c)
SERVER_O := $(call objects,server/*.c)
CLIENT_O := $(call objects,client/*.c)
CLI_O    := $(call objects,client/cli/*.c client/aws_profile.c)
SHIM_O   := $(call objects,shim/*.c)
SERVER_LIB_O := $(filter-out $(BUILD)/obj/server/main.o,$(SERVER_O))
CLIENT_LIB_O := $(filter-out $(BUILD)/obj/client/main.o,$(CLIENT_O))
SHIM_LIB_O   := $(filter-out $(BUILD)/obj/shim/main.o,$(SHIM_O))

PROGRAMS := berthd berth berth-api berth-fn

# demo and check build on all processors, unless make was told a number.
JOBS := $(if $(findstring j,$(firstword -$(MAKEFLAGS))),,-j$(shell nproc 2>/dev/null || echo 1))

.PHONY: all libraries deps deps-build deps-check deps-docker deps-lint deps-valgrind valgrind demo check conformance coherence exercise \
        exercise-bigdir exercise-programs torture unit fuzz exercisers lint install clean
.SUFFIXES:
.DELETE_ON_ERROR:

all: libraries $(PROGRAMS:%=$(BUILD)/bin/%)

libraries:
	@$(PKG_CONFIG) --exists $(PACKAGES) || { echo "libraries are missing: make deps installs them" >&2; exit 1; }

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

# --- packages: installs what is missing, and asks the network for nothing when all is there ---

DEPS_BUILD  := gcc libc6-dev make pkg-config libfuse3-dev libuv1-dev libsqlite3-dev libssl-dev libmicrohttpd-dev \
               libjansson-dev libcurl4-openssl-dev
DEPS_RUN    := fuse3 bubblewrap curl python3
DEPS_CHECK  := libcmocka-dev awscli python3-boto3 git python3-venv rsync acl attr zip unzip patch lmdb-utils python3-gdbm \
               dbench stress-ng iproute2
DEPS_DOCKER := docker.io docker-compose iptables mmdebstrap
DEPS_LINT   := clang-format clang-tidy cppcheck
DEPS_VALGRIND := valgrind

deps-build:
	@tests/deps $(DEPS_BUILD)
deps:
	@tests/deps $(DEPS_BUILD) $(DEPS_RUN)
deps-check:
	@tests/deps $(DEPS_BUILD) $(DEPS_RUN) $(DEPS_CHECK)
deps-docker:
	@tests/deps $(DEPS_DOCKER)
deps-lint:
	@tests/deps $(DEPS_BUILD) $(DEPS_CHECK) $(DEPS_LINT)

deps-valgrind:
	@tests/deps $(DEPS_BUILD) $(DEPS_CHECK) $(DEPS_VALGRIND)

demo: deps
	@$(MAKE) --no-print-directory $(JOBS) all
	@BERTH_BUILD=$(BUILD) tests/demo/demo.sh

# An engine for the container tests is installed for root only: nobody else can start one. Without it they are skipped.
check: deps-check
	@test "$$(id -u)" != 0 || $(MAKE) --no-print-directory deps-docker || true
	@$(MAKE) --no-print-directory $(JOBS) all unit fuzz exercisers $(COHERENCE) $(BUILD)/tests/sim $(BUILD)/tests/crashsim
	@BERTH_BUILD=$(BUILD) tests/run $(CHECK)

conformance: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all
	@BERTH_BUILD=$(BUILD) tests/conformance $(PJDFSTEST)

exercise: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all exercisers
	@BERTH_BUILD=$(BUILD) tests/posix/exercise.py $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(KILL),--kill)

torture: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all
	@BERTH_BUILD=$(BUILD) tests/torture/torture.py $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(LOGS),--logs $(LOGS))

coherence: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all $(COHERENCE)
	@$(if $(ROUNDS),BERTH_BUILD=$(BUILD) BERTH_LITMUS_ROUNDS=$(ROUNDS) tests/run -f Litmus)
	@BERTH_BUILD=$(BUILD) tests/coherence/history.py $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

exercise-bigdir: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all
	@BERTH_BUILD=$(BUILD) tests/posix/bigdir.py $(if $(ENTRIES),--entries $(ENTRIES))

exercise-precedence: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all
	@BERTH_BUILD=$(BUILD) BERTH_PRECEDENCE=all tests/run -f test_precedence

exercise-programs: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all
	@BERTH_BUILD=$(BUILD) BERTH_EXERCISE_SECONDS=$(or $(SECONDS),60) tests/run -f test_programs_load -f test_npm

# --- unit tests: tests/unit/test_FOLDER_*.c links the objects of that folder and those below it ---

UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
UNIT_HELP_O := $(call objects,$(filter-out $(wildcard tests/unit/test_*.c),$(wildcard tests/unit/*.c)))
CMOCKA := $(call pkg_libs,cmocka)

define unit_rule
$(BUILD)/unit/test_$(1)_%: $(BUILD)/obj/tests/unit/test_$(1)_%.o $(2)
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_LDFLAGS) $$^ $(3) $$(CMOCKA) -lpthread -o $$@
endef
$(eval $(call unit_rule,base,$(BASE_O)))
$(eval $(call unit_rule,wire,$(WIRE_O) $(BASE_O)))
$(eval $(call unit_rule,store,$(UNIT_HELP_O) $(STORE_O) $(BASE_O),$(LIBS_store)))
$(eval $(call unit_rule,core,$(CORE_O) $(STORE_O) $(BASE_O),$(LIBS_store)))
$(eval $(call unit_rule,server,$(SERVER_LIB_O) $(CORE_O) $(STORE_O) $(WIRE_O) $(BASE_O),$(LIBS_server)))
$(eval $(call unit_rule,client,$(CLIENT_LIB_O) $(WIRE_O) $(BASE_O),$(LIBS_client)))
$(eval $(call unit_rule,shim,$(SHIM_LIB_O) $(BASE_O),$(LIBS_shim)))

unit: $(UNIT_TESTS)

valgrind: deps-valgrind
	@$(MAKE) --no-print-directory $(JOBS) unit
	@set -e; for test in $(UNIT_TESTS); do \
	    BERTH_TEST_SEED=1 BERTH_TEST_ENTRIES=10000 \
	    valgrind -q --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite $$test >/dev/null 2>$$test.valgrind || \
	        { cat $$test.valgrind; exit 1; }; \
	    echo "clean: $$test"; \
	done

# --- fuzzers: tests/fuzz/fuzz_FOLDER_*.c, linked likewise; make check gives each a short run ---

FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_HELP_O := $(call objects,$(filter-out $(wildcard tests/fuzz/fuzz_*.c),$(wildcard tests/fuzz/*.c)))

$(BUILD)/fuzz/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(FUZZ_HELP_O) $(WIRE_O) $(BASE_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $^ -lpthread -o $@

# In the place of hosting.c: one file system, on the fuzzer's loop.
$(BUILD)/fuzz/fuzz_server_%: $(BUILD)/obj/tests/fuzz/fuzz_server_%.o $(call objects,tests/fuzz/server/*.c) $(FUZZ_HELP_O) \
                             $(SERVER_LIB_O) $(CORE_O) $(STORE_O) $(WIRE_O) $(BASE_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -Wl,--wrap=hosting_attach $^ $(LIBS_server) -lpthread -o $@

fuzz: $(FUZZERS)

# --- exercisers: programs that tests/posix/exercise.py runs ---

HISTORY_O  := $(BUILD)/obj/tests/posix/history.o
EXERCISERS := $(BUILD)/posix/fsx $(BUILD)/posix/fsstress

$(BUILD)/posix/fsx: $(call objects,tests/posix/fsx*.c) $(HISTORY_O)
$(BUILD)/posix/fsstress: $(call objects,tests/posix/fsstress*.c) $(HISTORY_O)
$(EXERCISERS):
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $^ -o $@

exercisers: $(EXERCISERS)

# --- coherence: what one mount's kernel may still believe when a call has returned on another ---

COHERENCE := $(BUILD)/coherence/rounds $(BUILD)/coherence/contend

$(BUILD)/coherence/rounds: $(call objects,tests/coherence/rounds.c tests/coherence/side.c tests/coherence/litmus_*.c)
$(BUILD)/coherence/contend: $(call objects,tests/coherence/contend.c tests/coherence/side.c)
$(COHERENCE):
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $^ -lpthread -o $@

# --- simulation: many clients and a server in one process on virtual time; its own conn and shard, the rest is the real code ---

SIM_SERVER := accessed attach attached catalogue catalogue_db client credentials debt dispatch frame grace hosted keep lease leases \
              metrics recall run_marker session sync turn welcome address
SIM_O := $(call objects,tests/sim/*.c server/op_*.c) $(SIM_SERVER:%=$(BUILD)/obj/server/%.o) $(BUILD)/obj/client/rpc.o
SIM_WRAPS := keep_reply grace_parks grace_check_claim lock_release_session session_admit attached_tell_grants_again \
             grace_start session_loosen session_granted attached_tick core_turn_commit lock_set \
             recall_ask recall_dropped recall_give_name recall_give_data recall_keep debts_settled cache_change_ends cache_has_dropped

$(BUILD)/tests/sim: $(SIM_O) $(CORE_O) $(STORE_O) $(WIRE_O) $(BASE_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $(SIM_WRAPS:%=-Wl,--wrap=%) $^ $(LIBS_server) -lpthread -o $@

sim: $(BUILD)/tests/sim
	$(BUILD)/tests/sim --seeds $(or $(SEEDS),1000) --from $(or $(SEED),1) --jobs $$(nproc)

# --- crashes: the store on a disk that records, and loses power at every position of the record ---

$(BUILD)/tests/crashsim: $(call objects,tests/crash/*.c) $(STORE_O) $(BASE_O)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $^ $(LIBS_store) -ldl -lpthread -o $@

crash: $(BUILD)/tests/crashsim
	$(BUILD)/tests/crashsim --seeds $(or $(SEEDS),1000) --from $(or $(SEED),1)

# --- lint ---

C_FOLDERS := fs server client shim tests
C_SOURCES := $(shell find $(C_FOLDERS) -name '*.c' 2>/dev/null)
C_HEADERS := $(shell find $(C_FOLDERS) -name '*.h' 2>/dev/null)

lint: deps-lint
	tests/lint/includes.py
	tests/lint/tidy.py
	clang-format --dry-run -Werror $(C_SOURCES) $(C_HEADERS)
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability,performance --inline-suppr \
	    --library=tests/lint/cppcheck.cfg --suppress=memleak --suppress=resourceLeak \
	    --suppress=internalAstError --suppress=legacyUninitvar -I. -D_GNU_SOURCE fs server client shim
	printf '%s\n' $(C_SOURCES) | xargs -P "$$(nproc)" -I FILE clang-tidy --quiet FILE -- -std=c11 -D_GNU_SOURCE \
	    -D_FILE_OFFSET_BITS=64 -I. $(PKG_CFLAGS)

# --- install: mount(8) looks for helpers in /sbin alone, whatever the prefix ---

BINDIR     = $(DESTDIR)$(PREFIX)/bin
LIBEXECDIR = $(DESTDIR)$(PREFIX)/libexec/berth
SBINDIR    = $(DESTDIR)/sbin
MANDIR     = $(DESTDIR)$(PREFIX)/share/man
UNITDIR    = $(DESTDIR)$(PREFIX)/lib/systemd/system

install: all
	install -d $(BINDIR) $(LIBEXECDIR) $(SBINDIR) $(MANDIR)/man1 $(MANDIR)/man8 $(UNITDIR)
	install -m 0755 $(BUILD)/bin/berthd $(BUILD)/bin/berth $(BUILD)/bin/berth-fn $(BINDIR)
	install -m 0755 $(BUILD)/bin/berth-api $(LIBEXECDIR)
	install -m 0644 shim/bootstrap.py $(LIBEXECDIR)
	ln -sf $(PREFIX)/bin/berth $(SBINDIR)/mount.berth
	install -m 0644 docs/man/*.1 $(MANDIR)/man1
	install -m 0644 docs/man/*.8 $(MANDIR)/man8
	sed 's,@PREFIX@,$(PREFIX),' docs/berthd.service >$(UNITDIR)/berthd.service

clean:
	rm -rf build

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.SECONDARY:
