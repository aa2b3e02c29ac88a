# SPDX-License-Identifier: GPL-2.0-only
#
# The one entry point: every target is a line that says what it is for and the
# commands that do it; the work itself is in tools/ and in the kernel's own
# makefiles. All that is made lies below build/.

ifneq ($(words $(subst :, ,$(CURDIR))),1)
$(error the kernel is not built in a directory with a space or colon in its name: $(CURDIR))
endif

TOP		:= $(CURDIR)
BUILD		:= $(TOP)/build
TREE		:= $(BUILD)/linux
ARCH		:= arm64
CROSS_COMPILE	?= aarch64-linux-gnu-
JOBS		?= $(shell nproc)
CONFIGS		:= $(TREE)/arch/arm64/configs

# Objects do not depend on where this directory is.
export CCACHE_BASEDIR	:= $(TOP)
export CCACHE_NOHASHDIR	:= 1
export CROSS_COMPILE JOBS
ifneq ($(BASE),)
export BASE
endif

# DEBUG=1 builds the host with the checkers on, beside the ordinary one; EL2_DEBUG=1
# with those of EL2 only, which do not make it slow.
HOST		:= $(BUILD)/host$(if $(DEBUG),-debug,$(if $(EL2_DEBUG),-el2-debug))
HOST_FRAGMENTS	:= $(CONFIGS)/pkvm_host.config $(CONFIGS)/pkvm_test.config \
		   $(if $(DEBUG),$(CONFIGS)/pkvm_debug.config) \
		   $(if $(EL2_DEBUG),$(CONFIGS)/pkvm_el2_debug.config) $(EXTRA_CONFIG)
BASE_OBJ	:= $(BUILD)/base-obj
GUEST		:= $(BUILD)/guest
DEB		:= $(BUILD)/deb
# The packages for building modules and for debuggers need arm64 libraries of
# the build machine, or much room.
DEB_PROFILES	:= pkg.linux-upstream.nokernelheaders pkg.linux-upstream.nokerneldbg

STEP		:= tools/tree/step
# The kernel's make takes no flags from this one: it has its own jobs.
KMAKE		:= env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make ARCH=$(ARCH) \
		   CROSS_COMPILE=$(CROSS_COMPILE) LOCALVERSION= -j$(JOBS) \
		   CC="$(if $(shell command -v ccache),ccache )$(CROSS_COMPILE)gcc" \
		   $(if $(V),V=$(V))
HINT		= make deps installs what a build needs; to build by hand: \
		  make -C build/$(1) O=$(2) ARCH=arm64 CROSS_COMPILE=$(CROSS_COMPILE)

.DEFAULT_GOAL	:= help
.NOTPARALLEL:
.PHONY: help deps run shell check style tree save status delta series \
	series-build verify-tree verify-bases image guest debian-guest pvm \
	selftests initramfs plugin deb clean distclean have-tree guests base-image \
	bench check-negative check-long el2-debug-image

help:			## this list
	@echo 'make TARGET [VARIABLE=VALUE ...]'
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | \
		expand -t 18
	@echo
	@echo 'BASE=VERSION of linux-source-6.12 · JOBS=N · V=1'
	@echo 'DEBUG=1, EL2_DEBUG=1 (image): build/host-debug, build/host-el2-debug'
	@echo 'EXTRA_CONFIG=FILE (image) · T="SUITE[.TEST] ..." (check)'
	@echo 'T="VARIANT ..." (check-negative)'

# --- the main job

run: deps image guest pvm initramfs	## boot the host, start a protected guest, try to read it, tell what came of it
	@tools/qemu/run

shell: deps image guest debian-guest pvm initramfs	## a prompt in the host, with the tools and guests at hand
	@tools/qemu/run --shell

check: deps image el2-debug-image guest debian-guest pvm selftests initramfs plugin	## all tests, in KTAP; the last line is "N passed, N failed"
	@tools/qemu/check $(T)

check-long: deps image el2-debug-image guest debian-guest pvm selftests initramfs	## the tests that take minutes, some with the debug kernel: suites named *-long
	@$(MAKE) --no-print-directory image DEBUG=1
	@tools/qemu/check --long $(T)

# The unmodified base takes as long to build as ours: only for variants that need it.
check-negative: deps image selftests initramfs	## break the kernel on purpose, one way after the other: the tests must notice
	@for target in $$(tools/qemu/check-negative --needs $(T)); do \
		$(MAKE) --no-print-directory $$target || exit; \
	done
	@tools/qemu/check-negative $(T)

bench: deps image base-image selftests initramfs	## the cost of faults and exits of guests, base and ours, in instructions
	@tools/qemu/bench

style:			## the style checks alone
	@tools/tree/style

deps:			## install the Debian packages that are missing
	@tools/deps

# --- the delta

tree: deps		## unpack the base into build/linux and apply the delta, or bring it up to date
	@tools/tree/tree unpack

save:			## carry what was edited in build/linux into the repository
	@tools/tree/tree save

status:			## list what was edited in build/linux and is not saved
	@tools/tree/tree status

delta:			## print the size of every patch and of every file of ours
	@tools/tree/tree delta

series:			## export the delta for git am, into build/series
	@tools/tree/tree series

series-build: series	## build the host kernel after each patch of the series
	@tools/tree/series-build

verify-tree: deps	## unpack, apply and save afresh: the repository must not change
	@tools/tree/tree verify

verify-bases: deps	## try the delta on every base that apt lists
	@tools/tree/tree bases

# Builds take the tree as it is, unsaved edits too, unless the repository has
# something newer to apply.
have-tree: deps
	@tools/tree/tree unpack --keep-edits

# --- what is built

# EL2_DEBUG changes a few objects only: the others are those of the ordinary host.
image: have-tree	## the host kernel, build/host/arch/arm64/boot/Image
	@$(if $(EL2_DEBUG),[ -d $(HOST) ] || [ ! -f $(BUILD)/host/vmlinux ] || \
		cp -a $(BUILD)/host $(HOST))
	@tools/tree/mkconfig --cross $(CROSS_COMPILE) $(TREE) $(HOST) $(HOST_FRAGMENTS)
	@$(STEP) --what 'building the host kernel' --about 1900 \
		--hint '$(call HINT,linux,$(HOST))' $(notdir $(HOST)) -- \
		$(KMAKE) -C $(TREE) O=$(HOST) Image modules

el2-debug-image:	## the same with EL2's checks of itself, build/host-el2-debug: make image EL2_DEBUG=1
	@$(MAKE) --no-print-directory image EL2_DEBUG=1 DEBUG=

guest: have-tree	## the guest kernel, the unmodified base, build/guest/arch/arm64/boot/Image
	@tools/tree/tree pristine
	@tools/tree/mkconfig --cross $(CROSS_COMPILE) $(BUILD)/linux-base $(GUEST) \
		$(CONFIGS)/pkvm_guest.config
	@$(STEP) --what 'building the guest kernel from the unmodified base' \
		--about 1270 --hint '$(call HINT,linux-base,$(GUEST))' guest -- \
		$(KMAKE) -C $(BUILD)/linux-base O=$(GUEST) Image

# What the base is compared with has the host's options, as far as it knows them.
base-image: have-tree	## the unmodified base with the host's options, build/base/Image
	@tools/tree/tree pristine
	@test -f $(BUILD)/host/.config || { \
		echo 'base-image: there is no build/host; run: make image' >&2; exit 1; }
	@mkdir -p $(BASE_OBJ) $(BUILD)/base/module $(BUILD)/base/overlay/opt/kvm
	@cmp -s $(BUILD)/host/.config $(BASE_OBJ)/host.config || { \
		cp $(BUILD)/host/.config $(BASE_OBJ)/.config && \
		$(KMAKE) -s -C $(BUILD)/linux-base O=$(BASE_OBJ) olddefconfig && \
		cp $(BUILD)/host/.config $(BASE_OBJ)/host.config; }
	@$(STEP) --what 'building the unmodified base with the host options' \
		--about 1900 --hint '$(call HINT,linux-base,$(BASE_OBJ))' base -- \
		$(KMAKE) -C $(BUILD)/linux-base O=$(BASE_OBJ) Image modules
	@cp $(BASE_OBJ)/arch/arm64/boot/Image $(BASE_OBJ)/System.map $(BUILD)/base
	@cp $(BASE_OBJ)/.config $(BUILD)/base/config
	@cp -p $(TREE)/tools/testing/selftests/kvm/test_modules/* $(BUILD)/base/module
	@$(STEP) --what 'building the test module for the base' base-module -- \
		$(KMAKE) -C $(BUILD)/base/module KDIR=$(BASE_OBJ)
	@$(CROSS_COMPILE)strip -g -o $(BUILD)/base/overlay/opt/kvm/kvm_test_pages.ko \
		$(BUILD)/base/module/kvm_test_pages.ko

debian-guest: deps	## Debian's stock arm64 cloud kernel, as a second guest, build/debian-guest
	@tools/tree/debian-guest

pvm: have-tree		## the small VMM and its helpers, build/pvm
	@$(STEP) --what 'building the VMM' pvm -- \
		$(KMAKE) -C $(TREE)/tools/virt/pvm O=$(BUILD)/pvm

plugin: deps		## the plugin of QEMU that sees which code of EL2 runs, build/plugin
	@mkdir -p $(BUILD)/plugin
	@gcc -O2 -Wall -shared -fPIC -o $(BUILD)/plugin/el2cover.so \
		tools/qemu/plugin/el2cover.c

selftests: have-tree	## the KVM selftests of the tree, build/selftests
	@tools/qemu/selftests

initramfs: have-tree	## the host's initramfs, build/initramfs/host.cpio.gz
	@tools/qemu/mkinitramfs

deb: deps have-tree	## Debian packages of the host kernel for a real arm64 machine, build/*.deb
	@tools/tree/mkconfig --cross $(CROSS_COMPILE) --on defconfig $(TREE) $(DEB) \
		$(CONFIGS)/pkvm_host.config
	@$(STEP) --what 'building a kernel for real machines, as packages (long)' \
		--about 12000 --hint '$(call HINT,linux,$(DEB))' deb -- \
		$(KMAKE) -C $(TREE) O=$(DEB) bindeb-pkg \
		KDEB_PKGVERSION="$$(make -s -C $(TREE) kernelversion)-1" \
		DEB_BUILD_PROFILES="$(DEB_PROFILES)"
	@ls -1 build/*.deb

# --- cleaning

clean:			## remove what was built; keep build/linux and downloads
	rm -rf $(filter-out $(addprefix $(BUILD)/,linux linux-base bases \
		debian-guest stock-vmm deps),$(wildcard $(BUILD)/*))

distclean:		## remove build/ altogether, unless build/linux has unsaved edits
	@tools/tree/tree discard
	rm -rf $(BUILD)
