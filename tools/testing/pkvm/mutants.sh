#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Break each guard of EL2's in a copy, one after the other: a test must notice. Prints
# KTAP, each mutant with the cases that turned red. Called by make mutants.
#
#	[CASES=PATTERNS] mutants.sh TREE OUT [NAME...]
#
# With CASES only these cases run, which must notice.
set -u
top=$(cd "$(dirname "$0")" && pwd)
tree=$1
out=$2
shift 2
src=$out/mutant-src
obj=$out/mutant
hyp=arch/arm64/kvm/hyp
n=0
missed=0
wanted=" $* "

# name, file below hyp/, sed command
mutant()
{
	case $wanted in "  " | *" $1 "*) ;; *) return ;; esac
	n=$((n + 1))
	rm -rf "$src" "$obj"
	mkdir -p "$src/$hyp" "$src/arch/arm64/include" "$obj"
	cp -a "$tree/$hyp/." "$src/$hyp"
	cp -a "$tree/arch/arm64/include/asm" "$src/arch/arm64/include"
	cp -a "$out"/*.o "$out/el2" "$out/generated" "$obj"
	sed -i "$3" "$src/$hyp/$2"
	if cmp -s "$tree/$hyp/$2" "$src/$hyp/$2"; then
		missed=$((missed + 1))
		echo "not ok $n $1 # nothing to break there: mend the expression"
		return
	fi
	touch "$src/$hyp/$2"
	if ! make -s -C "$top" KSRC="$src" O="$obj" "$obj/unit" >"$obj/log" 2>&1; then
		missed=$((missed + 1))
		echo "not ok $n $1 # does not build"
		return
	fi
	red=$(timeout 120 "$obj/unit" ${CASES:-} 2>"$obj/log" | sed -n 's/^not ok [0-9]* //p' | tr '\n' ' ')
	if [ -n "$red" ]; then
		echo "ok $n $1 # $red"
	else
		missed=$((missed + 1))
		echo "not ok $n $1 # nobody noticed"
	fi
}

echo 'KTAP version 1'
mutant guests-map nvhe/ownership.c 's/!memory || pkvm_guests_map(phys, nr_pages)/!memory/'
mutant block-head nvhe/guest_share.c 's/ || block_head(phys)->nr_blocks//'
mutant owned-state nvhe/ownership.c 's/pkvm_getstate(leaf.pte) != PKVM_PAGE_OWNED :/false :/'
mutant owned-entry nvhe/ownership.c 's/^\t\t\t\t\t      leaf.pte)$/\t\t\t\t\t      0)/'
mutant range-memory nvhe/ownership.c 's/if (host_memory_range(next, &next) != \*memory)/if (host_memory_range(next, \&next) \& 0)/'
mutant range-wrap nvhe/ownership.c 's/check_add_overflow(\*phys, size, &end) ||/0 ||/'
mutant share-wrap nvhe/mem_protect.c 's/if (hyp_phys_to_pfn(host_addr) != pfn)/if (0)/'
mutant range-ipa nvhe/ownership.c 's/return end > BIT_ULL(vm->pgt.ia_bits) ? -ERANGE : 0/return 0/'
mutant check-free nvhe/guest_stage2.c 's/ret = kvm_pte_valid(leaf.pte) ? -EEXIST : check_free_entry(leaf.pte)/ret = 0/'
mutant tables-few nvhe/guest_stage2.c 's/need = KVM_PGTABLE_LAST_LEVEL - leaf.level;/need = KVM_PGTABLE_LAST_LEVEL - leaf.level - 1;/'
mutant tables-parted nvhe/guest_stage2.c 's/^\t\t\tneed++;/\t\t\t;/'
mutant scrub nvhe/guest_stage2.c '/^void guest_scrub_page/,/^}/s/memset(va, 0, PAGE_SIZE);//'
mutant sync-share nvhe/ownership.c '/^int __pkvm_guest_share_host/,/^}/s/guest_sync_page(phys, true);//'
mutant sync-unshare nvhe/ownership.c '/^static int host_return_page/,/^}/s/guest_sync_page(phys, false);//'
mutant sync-donate nvhe/guest_stage2.c 's/if (current_vm->kvm.arch.pkvm.enabled)/if (0)/'
mutant leaf-beyond include/nvhe/leaf.h 's/^\taddr &= BIT_ULL(pgt->ia_bits) - 1;//'
mutant full-late nvhe/guest_share.c '/^static int make_room/,/^}/s/if (full)/if (0)/'
mutant scrub-clean nvhe/guest_stage2.c '/^void guest_scrub_page/,/^}/s/kvm_flush_dcache_to_poc(va, PAGE_SIZE);//'
mutant scrub-code nvhe/guest_stage2.c '/^void guest_scrub_page/,/^}/s/__invalidate_icache_guest_page(va, PAGE_SIZE);//'
mutant share-code nvhe/ownership.c 's/guest_sync_page(phys, true);/guest_sync_page(phys, false);/'
mutant vm-without-stage2 nvhe/vm_table.c 's/!(per_cpu_ptr(&kvm_init_params, cpu)->hcr_el2 & HCR_VM)/0/'
mutant cpu-without-stage2 nvhe/psci-relay.c 's/!(init_params->hcr_el2 & HCR_VM)/0/'
mutant scrub-early nvhe/ownership.c 's/^\tret = guest_stage2_unmap(vm, ipa, 1);$/\tguest_scrub_page(phys); ret = guest_stage2_unmap(vm, ipa, 1);/'
mutant tlbi-unmap pgtable.c '/^static void stage2_unmap_put_pte/,/^}/s/} else if (!stage2_unmap_defer_tlb_flush(pgt)) {/} else if (0) {/'
mutant tlbi-range pgtable.c '/^int kvm_pgtable_stage2_unmap/,/^}/s/if (stage2_unmap_defer_tlb_flush(pgt))/if (0)/'
mutant tlbi-break pgtable.c '/^static bool stage2_try_break_pte/,/^}/s/} else if (kvm_pte_valid(ctx->old)) {/} else if (0) {/'
mutant tlbi-hyp pgtable.c '/^static int hyp_unmap_walker/,/^}/s/__tlbi_level(vale2is, [^;]*;//'
mutant tlbi-vmid nvhe/pkvm.c 's/__kvm_tlb_flush_vmid(&hyp_vm->kvm.arch.mmu);//'
mutant put-early nvhe/guest_share.c 's/^\tkvm_pgtable_stage2_unmap(&vm->pgt, gone\[0\].ipa, to - gone\[0\].ipa);//'
mutant max-blocks nvhe/guest_share.c 's/return page->nr_blocks == PKVM_MAX_BLOCKS;/return false;/'
mutant max-maps nvhe/guest_share.c 's/if (page\[i\].refcount == USHRT_MAX)/if (0)/'
mutant prot nvhe/guest_share.c 's/ || !prot_valid(prot))/)/'
mutant relax-size nvhe/guest_share.c 's/^\tif (prot \&\& pkvm_leaf_size(&leaf) >> PAGE_SHIFT > nr_pages)/\tif (0)/'
mutant relax-code nvhe/guest_share.c 's/^\tif ((prot & KVM_PGTABLE_PROT_X) &&$/\tif (0 \&\&/'
mutant host-gfn nvhe/ownership.c 's/state != PKVM_PAGE_OWNED || !host_entry_is(phys, vm, ipa >> PAGE_SHIFT)/0/'
mutant reclaim-pfn nvhe/ownership.c 's/if (page != phys ||$/if (/'
mutant poison nvhe/ownership.c 's/ret = guest_stage2_poison(vm, gfn << PAGE_SHIFT);/ret = guest_stage2_unmap(vm, gfn << PAGE_SHIFT, 1);/'
mutant dying nvhe/vm_table.c 's/ || hyp_vm->is_dying) {/) {/'
mutant one-cpu nvhe/vm_table.c 's/if (\*slot || hyp_vcpu->loaded ||/if (*slot ||/'
mutant vcpu-index nvhe/vm_table.c 's/if (!hyp_vm || vcpu_idx >= hyp_vm->nr_vcpus)/if (!hyp_vm)/'
mutant lock-order nvhe/ownership.c '/^void lock_host_and_guest/,/^}/{s/hyp_spin_lock(&host_mmu.lock);/guest_lock_component(vm);/;t;s/guest_lock_component(vm);/hyp_spin_lock(\&host_mmu.lock);/}'
mutant finalize-pages nvhe/pkvm.c 's/ || hyp_vm->nr_guest_pages ||/ ||/'
mutant finalize-stops nvhe/guest_stage2.c '/^bool return_free_tables/,/^}/s/if (read_sysreg(isr_el1))/if (0)/'
mutant finalize-keeps nvhe/pkvm.c '/^static int return_tables/,/^}/{s/hyp_page_ref_inc(page);//;s/hyp_page_ref_dec(page);//}'
mutant finalize-again nvhe/pkvm.c 's/return done ? check_finalize(hyp_vm) : -EAGAIN;/return -EAGAIN;/'
mutant pin nvhe/mem_protect.c 's/tx->initiator.id == PKVM_ID_HOST && hyp_page_count((void \*)addr)/0/'
mutant admit nvhe/guest_stage2.c 's/if (__pkvm_host_donate_hyp(hyp_phys_to_pfn(host_mc->head), 1))/if (!addr_is_allowed_memory(host_mc->head))/'
mutant ffa-version nvhe/ffa.c 's/ffa_req_version & BIT(31) || //'
mutant ffa-32-bits nvhe/ffa.c 's/if ((int)res->a0 == FFA_RET_NOT_SUPPORTED)/if (res->a0 == FFA_RET_NOT_SUPPORTED)/'
mutant ffa-mailboxes nvhe/ffa.c 's/if (!hyp_buffers.tx)/if (0)/'
mutant ffa-aligned nvhe/ffa_desc.c 's/ || !IS_ALIGNED(ep->composite_off, sizeof(u64))//'
mutant counters nvhe/guest_monitor.c 's/write_sysreg_s(pmcr & ~ARMV8_PMU_PMCR_E, SYS_PMCR_EL0)//'
mutant counters-host nvhe/guest_monitor.c 's/write_sysreg_s(host->pmcr, SYS_PMCR_EL0)//'
mutant trace nvhe/guest_monitor.c 's/write_sysreg_el1(0, SYS_TRFCR)//'
mutant trace-host nvhe/guest_monitor.c 's/write_sysreg_el1(host->trfcr, SYS_TRFCR)//'
mutant trace-el3 nvhe/guest_monitor.c 's/unlikely(host->traces)/true/'
mutant trace-unseen nvhe/guest_monitor.c 's/ | MDCR_EL2_TTRF, / | 0, /'
mutant trace-forgotten nvhe/guest_monitor.c 's/^\t\*this_cpu_ptr(&host_monitors) = (struct host_monitors) {};//'
mutant samples-on nvhe/host_buffers.c 's/limit & ~PMBLIMITR_EL1_E/limit/'
mutant samples-made nvhe/host_buffers.c 's/write_sysreg_el1(0, SYS_PMSCR)//'
mutant samples-late nvhe/host_buffers.c 's/^\tpsb_csync();//'
mutant samples-host nvhe/host_buffers.c 's/write_sysreg_s(host->pmblimitr, SYS_PMBLIMITR_EL1)//'
mutant samples-again nvhe/host_buffers.c 's/^\thost->pmblimitr = 0;//'
mutant samples-el3 nvhe/host_buffers.c 's/!(read_sysreg_s(SYS_PMBIDR_EL1) & PMBIDR_EL1_P)/true/'
mutant buffer-on nvhe/host_buffers.c 's/limit & ~TRBLIMITR_EL1_E/limit/'
mutant buffer-late nvhe/host_buffers.c 's/^\ttsb_csync();//'
mutant buffer-host nvhe/host_buffers.c 's/write_sysreg_s(host->trblimitr, SYS_TRBLIMITR_EL1)//'
mutant buffer-again nvhe/host_buffers.c 's/^\thost->trblimitr = 0;//'
mutant buffer-el3 nvhe/host_buffers.c 's/!(read_sysreg_s(SYS_TRBIDR_EL1) & TRBIDR_EL1_P)/true/'
mutant buffer-trace nvhe/host_buffers.c 's/if (pkvm_host_traces())/if (0)/'
mutant buffer-trace-el3 nvhe/host_buffers.c 's/if (pkvm_host_traces())/if (1)/'
mutant smc-sdei nvhe/host_smc.c 's/case 0x040 ... 0x04f/case 0x020 ... 0x04f/'
mutant smc-rmi nvhe/host_smc.c 's/case 0x130 ... 0x14f/case 0x130 ... 0x1cf/'
mutant ffa-box-twice nvhe/ffa.c 's/if (host_buffers.tx) {/if (0) {/'
mutant ffa-box-pin nvhe/ffa.c 's/ret = hyp_pin_shared_mem(tx_virt, tx_virt + 1);/ret = 0;/'
mutant ffa-box-id nvhe/ffa.c 's/if (id != HOST_FFA_ID) {/if (0) {/'
mutant ffa-range-aligned nvhe/ffa.c '/^static u32 __ffa_host_share_ranges/,/^}/s/if (!PAGE_ALIGNED(range->address) || !PAGE_ALIGNED(sz))/if (0)/'
mutant ffa-range-undo nvhe/ffa.c 's/__ffa_host_unshare_ranges(ranges, nshared);/;/'
mutant ffa-copy nvhe/ffa.c 's/ffa_desc_ranges(buf, fraglen,/ffa_desc_ranges(host_buffers.tx, fraglen,/'
mutant ffa-sender nvhe/ffa.c 's/ || buf->sender_id != HOST_FFA_ID//'
mutant ffa-endpoints nvhe/ffa.c 's/ || buf->ep_count != 1//'
mutant ffa-xfer-box nvhe/ffa.c '/^static void __do_ffa_mem_xfer/,/^}/s/fraglen > KVM_FFA_MBOX_NR_PAGES \* PAGE_SIZE/0/'
mutant ffa-xfer-part nvhe/ffa.c '/^static void __do_ffa_mem_xfer/,/^}/s/fraglen > len/0/'
mutant ffa-xfer-len nvhe/ffa.c '/^static void __do_ffa_mem_xfer/,/^}/s/if (len > ffa_desc_buf.len)/if (0)/'
mutant ffa-xfer-undo nvhe/ffa.c '/^static void __do_ffa_mem_xfer/,/^}/s/ffa_host_unshare_ranges(ranges, nr_ranges);/;/'
mutant ffa-frag-box nvhe/ffa.c '/^static void do_ffa_mem_frag_tx/,/^}/s/fraglen > KVM_FFA_MBOX_NR_PAGES \* PAGE_SIZE/0/'
mutant ffa-frag-part nvhe/ffa.c '/^static void do_ffa_mem_frag_tx/,/^}/s/if (fraglen % sizeof(\*buf))/if (0)/'
mutant ffa-frag-check nvhe/ffa.c '/^static void do_ffa_mem_frag_tx/,/^}/s/ret = ffa_host_share_ranges(buf, nr_ranges);/ret = 0;/'
mutant ffa-frag-undo nvhe/ffa.c '/^static void do_ffa_mem_frag_tx/,/^}/s/if (res->a0 != FFA_SUCCESS && res->a0 != FFA_MEM_FRAG_RX)/if (0)/'
mutant ffa-frag-abort nvhe/ffa.c '/^static void do_ffa_mem_frag_tx/,/^}/s/ffa_mem_reclaim(res, handle_lo, handle_hi, 0);/;/'
mutant ffa-back-part nvhe/ffa.c '/^static void do_ffa_mem_reclaim/,/^}/s/if (fraglen > len || fraglen > KVM_FFA_MBOX_NR_PAGES \* PAGE_SIZE/if (0/'
mutant ffa-back-len nvhe/ffa.c '/^static void do_ffa_mem_reclaim/,/^}/s/if (len > ffa_desc_buf.len)/if (0)/'
mutant ffa-back-next nvhe/ffa.c '/^static void do_ffa_mem_reclaim/,/^}/s/if (!fraglen || fraglen > len - fragoff ||/if (!fraglen ||/'
mutant ffa-back-none nvhe/ffa.c '/^static void do_ffa_mem_reclaim/,/^}/s/if (!fraglen || /if (/'
mutant ffa-back-early nvhe/ffa.c '/^static void do_ffa_mem_reclaim/,/^}/s/^\tffa_mem_reclaim(/\tffa_host_unshare_ranges(ranges, nr_ranges);\n&/'
mutant ffa-back-keeps nvhe/ffa.c '/^static void do_ffa_mem_reclaim/,/^}/s/ffa_host_unshare_ranges(ranges, nr_ranges);/;/'
mutant ffa-released nvhe/ffa.c '/^static void do_ffa_mem_reclaim/,/^}/s/^\tmemcpy(buf, hyp_buffers.rx, fraglen);/\tffa_rx_release(res);\n&/'
mutant ffa-partitions nvhe/ffa.c 's/copy_sz > KVM_FFA_MBOX_NR_PAGES \* PAGE_SIZE) {/0) {/'
mutant ffa-partitions-wrap nvhe/ffa.c 's/check_mul_overflow(partition_sz, count, &copy_sz) ||/(copy_sz = partition_sz * count, 0) ||/'
mutant ffa-desc-array nvhe/ffa_desc.c 's/->ep_mem_offset != sizeof(struct ffa_mem_region))/->ep_mem_offset == 1)/'
mutant ffa-desc-ep nvhe/ffa_desc.c 's/check_add_overflow(ep_offset, (u32)sizeof(\*ep), &end) || end > len)/0)/'
mutant ffa-desc-region nvhe/ffa_desc.c 's/check_add_overflow(ep->composite_off, (u32)sizeof(\*reg), &end) || end > len ||/(end = ep->composite_off + sizeof(*reg), 0) ||/'
mutant ffa-desc-tail nvhe/ffa_desc.c 's/(len - end) % sizeof(reg->constituents\[0\]))/0)/'
mutant ffa-desc-count nvhe/ffa_desc.c 's/return \*nr <= reg->addr_range_cnt ?/return 1 ?/'
mutant ram-too-many nvhe/guest_ram.c 's/if (ram->nr > PKVM_MAX_RAM_RANGES)/if (0)/'
mutant ram-empty nvhe/guest_ram.c 's/if (!r->nr_pages || /if (/'
mutant ram-beyond nvhe/guest_ram.c 's/r->gfn >= max || //'
mutant ram-wraps nvhe/guest_ram.c 's/ || r->nr_pages > max - r->gfn)/)/'
mutant ram-behind nvhe/guest_ram.c 's/ && gfn - r->gfn < r->nr_pages &&/ \&\&/'
mutant ram-across nvhe/guest_ram.c 's/nr_pages <= r->nr_pages - (gfn - r->gfn))/1)/'
mutant ram-is-all nvhe/guest_ram.c 's/^	return false;/	return true;/'
mutant hvc-reserved nvhe/guest_hvc.c 's/^\treturn reserved_args_zero(vcpu, 1) ?/\treturn 1 ?/'
mutant hvc-enroll nvhe/guest_hvc.c '/^static long enroll_call/,/^}/s/if (!reserved_args_zero(&hyp_vcpu->vcpu, 1))/if (0)/'
mutant hvc-page-args nvhe/guest_hvc.c 's/if (!reserved_args_zero(vcpu, first))/if (0)/'
mutant hvc-answer nvhe/guest_hvc.c 's/^\t\thost_ret = -EPERM;/\t\t;/'
mutant hvc-shown nvhe/guest_hvc.c 's/u64 val = i < nr_regs ? vcpu_get_reg(vcpu, i) : 0;/u64 val = vcpu_get_reg(vcpu, i);/'
mutant hvc-shown-wide nvhe/guest_hvc.c 's/if (!i || !ARM_SMCCC_IS_64(fn))/if (!i)/'
mutant hvc-unsharing nvhe/guest_hvc.c 's/smccc_get_arg1(vcpu) == ipa;/1;/'
mutant hvc-again nvhe/guest_hvc.c 's/^\t\t\*vcpu_pc(vcpu) -= 4;/\t\t;/'
mutant hvc-vectors nvhe/guest_hvc.c 's/if (__this_cpu_read(kvm_hyp_vector) ==/if (0 \&\& __this_cpu_read(kvm_hyp_vector) ==/'
mutant hvc-old-firmware nvhe/guest_hvc.c '/^static void trng_from_el3/,/^}/s/if (!el3_has_smccc_1_1())/if (0)/'
mutant trng-bits nvhe/guest_hvc.c 's/words\[nr - 1\] &= GENMASK(nr_bits % BITS_PER_LONG - 1, 0);/;/'
mutant trng-many nvhe/guest_hvc.c 's/if (!nr_bits || nr_bits > 3 \* size)/if (!nr_bits || nr_bits > 192)/'
mutant trng-dry nvhe/guest_hvc.c 's/if (tries == TRNG_TRIES)/if (0)/'
mutant trng-wide nvhe/guest_hvc.c 's/nr_bits = lower_32_bits(nr_bits);/;/'
mutant smc-stays nvhe/guest_hvc.c 's/^\t__kvm_skip_instr(vcpu);/\t;/'
mutant psci-boot-twice nvhe/guest_psci.c 's/hyp_vcpu->boot_vcpu = false;/;/'
mutant psci-off-runs nvhe/guest_psci.c 's/^\t\treturn -EPERM;/\t\treturn 0;/'
mutant psci-half-written nvhe/guest_psci.c 's/if (!smp_load_acquire(&reset->reset))/if (0)/'
mutant psci-reset-stays nvhe/guest_psci.c 's/^\t\treset->reset = false;/\t\t;/'
mutant psci-pc-shown nvhe/guest_psci.c 's/WRITE_ONCE(host_ctxt->regs.pc, 0);/;/'
mutant psci-mpidr nvhe/guest_psci.c '/^static struct pkvm_hyp_vcpu \*mpidr_to_hyp_vcpu/,/^}/s/if (mpidr & ~MPIDR_HWID_BITMASK)/mpidr \&= MPIDR_HWID_BITMASK; if (0)/'
mutant psci-entry nvhe/guest_psci.c 's/if (!IS_ALIGNED(entry, 4) || entry >= BIT_ULL(hyp_vm->pgt.ia_bits))/if (!IS_ALIGNED(entry, 4))/'
mutant psci-entry-aligned nvhe/guest_psci.c 's/if (!IS_ALIGNED(entry, 4) || /if (/'
mutant psci-two-callers nvhe/guest_psci.c 's/^\t\treturn PSCI_RET_ON_PENDING;/\t\tbreak;/'
mutant psci-on-again nvhe/guest_psci.c 's/^\t\treturn PSCI_RET_ALREADY_ON;/\t\tbreak;/'
mutant psci-endian nvhe/guest_psci.c 's/reset->be = read_sysreg_el1(SYS_SCTLR) & SCTLR_ELx_EE;/reset->be = false;/'
mutant psci-32-bits nvhe/guest_psci.c 's/if (!(fn & PSCI_0_2_64BIT)) {/if (0) {/'
mutant psci-level nvhe/guest_psci.c 's/if (level > 3 || /if (/'
mutant psci-reset-type nvhe/guest_psci.c 's/return type == PSCI_1_1_RESET_TYPE_SYSTEM_WARM_RESET ||/return 1 ||/'
mutant relay-mpidr nvhe/psci-relay.c 's/if (mpidr & ~MPIDR_HWID_BITMASK)/mpidr \&= MPIDR_HWID_BITMASK; if (0)/'
mutant relay-locked nvhe/psci-relay.c 's/if (!try_acquire_boot_args(boot_args))/if (0)/'
mutant relay-refused nvhe/psci-relay.c 's/^\t\trelease_boot_args(boot_args);$/\t\t;/'
mutant relay-entry nvhe/psci-relay.c '/^static int psci_cpu_on/,/^}/s/__hyp_pa(&kvm_hyp_cpu_entry)/pc/'
mutant relay-resume nvhe/psci-relay.c '/^static int psci_system_suspend/,/^}/s/__hyp_pa(&kvm_hyp_cpu_resume)/pc/'
mutant relay-unknown nvhe/psci-relay.c '/^static unsigned long psci_0_2_handler/,/^}/s/return PSCI_RET_NOT_SUPPORTED;/return psci_forward(host_ctxt);/'
mutant ram-kept nvhe/psci-relay.c 's/cpu_reg(host_ctxt, 0) = pkvm_reset_function(func_id);/;/'
mutant sme-after-cpu-on nvhe/psci-relay.c 's/pkvm_init_cpu();/;/'
mutant ram-for-ever nvhe/psci_mem_protect.c 's/(!turned_on || mem_protect(false) >= 0)/!turned_on/'
mutant ram-of-others nvhe/psci_mem_protect.c 's/turned_on = !was/turned_on = was >= 0/'
mutant ram-not-by-el2 nvhe/psci_mem_protect.c 's/READ_ONCE(is_on)/turned_on/'
mutant ram-counted nvhe/psci_mem_protect.c 's/!--nr_vms && //'
mutant ram-told nvhe/psci_mem_protect.c 's/mem_protect(false) >= 0/(mem_protect(false), 1)/'
mutant ram-tried-again nvhe/psci_mem_protect.c 's/if (!is_on)/if (nr_vms == 1)/'
mutant ram-too-old nvhe/psci_mem_protect.c 's/PSCI_VERSION(1, 1)/PSCI_VERSION(1, 0)/'
mutant ram-no-vm nvhe/pkvm.c '/^int __pkvm_init_vm/,/^}/s/pkvm_mem_protect_put();/;/'
mutant ram-ordinary nvhe/pkvm.c '/^int __pkvm_init_vm/,/^}/s/if (protected)/if (1)/'
mutant mpam nvhe/guest_mpam.c 's/ | MPAM2_EL2_TRAPMPAM0EL1//'
mutant mpam-id nvhe/guest_mpam.c 's/^\t\tmpam2 |= MPAM2_EL2_TIDR/\t\t/'
mutant mpam-host nvhe/guest_mpam.c 's/write_sysreg_s(host->mpam2, SYS_MPAM2_EL2)//'
echo "1..$n"
echo "# $((n - missed)) of $n noticed"
[ "$missed" = 0 ]
