/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What arm64 and the rest of the kernel give to the code under test, in terms of
 * the machine that fake.c is. A feature of the CPU is a variable.
 */
#ifndef __FAKE_ASM_FAKE_H
#define __FAKE_ASM_FAKE_H

#include <linux/align.h>
#include <linux/bitfield.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/overflow.h>
#include <linux/sizes.h>
#include <linux/types.h>

#include <asm/sysreg.h>
#include <vdso/const.h>

#define PAGE_SHIFT		12
#define PAGE_SIZE		(_AC(1, UL) << PAGE_SHIFT)
#define PAGE_MASK		(~(PAGE_SIZE - 1))
#define PAGE_ALIGN(a)		ALIGN(a, PAGE_SIZE)
#define PAGE_ALIGNED(a)		IS_ALIGNED((unsigned long)(a), PAGE_SIZE)
#define offset_in_page(p)	((unsigned long)(p) & ~PAGE_MASK)
#define __phys_to_pfn(p)	((p) >> PAGE_SHIFT)
#define MAX_PAGE_ORDER		10
#define NR_PAGE_ORDERS		(MAX_PAGE_ORDER + 1)

static inline int get_order(unsigned long size)
{
	return size <= PAGE_SIZE ? 0 : 64 - PAGE_SHIFT - __builtin_clzl(size - 1);
}

#ifndef offsetofend
#define offsetofend(t, m)	(offsetof(t, m) + sizeof(((t *)0)->m))
#endif
#ifndef is_power_of_2
#define is_power_of_2(n)	((n) && !((n) & ((n) - 1)))
#endif
#undef smp_store_release
#define smp_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#define cmpxchg(p, old, new)						\
({									\
	typeof(*(p)) __old = (old);					\
									\
	__atomic_compare_exchange_n(p, &__old, new, false,		\
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);	\
	__old;								\
})

#undef smp_load_acquire
#define smp_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)

#define ATOMIC_INIT(i)		{ i }
#define atomic_cmpxchg_acquire(v, old, new)	cmpxchg(&(v)->counter, old, new)
#define atomic_set_release(v, i)	smp_store_release(&(v)->counter, i)

typedef struct {
	s64 counter;
} atomic64_t;
#define atomic64_set(v, i)	((v)->counter = (i))
#define atomic64_read(v)	((v)->counter)

#define array_index_nospec(i, n)	((i) < (n) ? (i) : 0)

/* Each CPU has its own; the one that runs is fake_cpu. */
#define FAKE_CPUS		4
#define NR_CPUS			FAKE_CPUS
#define INVALID_HWID		ULONG_MAX
u64 cpu_logical_map(unsigned int cpu);
/* MPIDR_EL1 (arch/arm64/include/asm/cputype.h) */
#define MPIDR_HWID_BITMASK	0xff00ffffffUL
#define MPIDR_LEVEL_SHIFT(l)	((l) == 3 ? 32 : 8 * (l))
extern unsigned int fake_cpu;
#define DECLARE_PER_CPU(type, name)	extern typeof(type) name[FAKE_CPUS]
/* What it may be initialised with is zero: that goes to a variable of its own. */
#define DEFINE_PER_CPU(type, name)					\
	typeof(type) name[FAKE_CPUS], fake_init_##name __attribute__((unused))
#define per_cpu_ptr(p, cpu)	(&(*(p))[cpu])
#define this_cpu_ptr(p)		per_cpu_ptr(p, fake_cpu)
#define __this_cpu_read(name)	(name[fake_cpu])

#define memzero_explicit(p, n)	({ memset(p, 0, n); barrier_data(p); })
#define lower_32_bits(n)	((u32)((n) & 0xffffffff))
#define upper_32_bits(n)	((u32)(((n) >> 16) >> 16))
#ifndef barrier_data
#define barrier_data(p)		asm volatile("" : : "r"(p) : "memory")
#endif
#define __ro_after_init
#define __noreturn		__attribute__((noreturn))

/* The end of a run: says why, and where the run was. */
__attribute__((noreturn, format(printf, 3, 4)))
void fake_die(const char *file, int line, const char *fmt, ...);
#undef BUG_ON
#undef WARN_ON
#undef WARN_ON_ONCE
#define BUG_ON(c)							\
do {									\
	if (c)								\
		fake_die(__FILE__, __LINE__, "BUG_ON(%s)", #c);		\
} while (0)
#define WARN_ON(c)							\
({									\
	bool __c = (c);							\
									\
	if (__c)							\
		fake_die(__FILE__, __LINE__, "WARN_ON(%s)", #c);	\
	__c;								\
})
#define WARN_ON_ONCE(c)		WARN_ON(c)

/* Features of the CPU */
struct fake_features {
	bool lpa2;
	bool fwb;
	bool tlb_range;
	unsigned int pa_bits;
};

extern struct fake_features fake_features;
#define ARM64_HAS_STAGE2_FWB			1
#define ARM64_KVM_HVHE				2
#define ARM64_WORKAROUND_AMPERE_AC03_CPU_38	3
#define ARM64_WORKAROUND_SPECULATIVE_AT		4
#define ARM64_WORKAROUND_2064142		5
#define ARM64_WORKAROUND_2038923		6
#define cpus_have_final_cap(c)	((c) == ARM64_HAS_STAGE2_FWB && fake_features.fwb)
#define system_supports_lpa2()	fake_features.lpa2
#define system_supports_tlb_range()	fake_features.tlb_range
#define system_supports_bti_kernel()	false
#define system_supports_mte()	false
#define system_supports_sve()	false
struct cpu_sve_state {
	u64 unused;
};

extern unsigned int kvm_host_sve_max_vl;
#define sve_vq_from_vl(vl)	((vl) / 16)
#define SVE_SIG_REGS_SIZE(vq)	((vq) * 16)
#define static_branch_likely(key)	(*(key))
extern bool kvm_protected_mode_initialized;
extern u64 id_aa64mmfr0_el1_sys_val, id_aa64mmfr1_el1_sys_val;
#define cpuid_feature_extract_unsigned_field(reg, shift)	(((reg) >> (shift)) & 0xf)
static inline u32 id_aa64mmfr0_parange_to_phys_shift(int parange)
{
	static const u8 shift[] = { 32, 36, 40, 42, 44, 48, 52 };

	return shift[parange];
}

#define get_vmid_bits(mmfr1)	16

/* Barriers are the order in which things are recorded. */
#define dsb(x)			barrier()
#undef wmb
#define wmb()			barrier()
#define isb()			barrier()
void fake_drain_samples(void);
void fake_drain_trace(void);
#define psb_csync()		fake_drain_samples()
#define tsb_csync()		fake_drain_trace()
#define ALTERNATIVE(...)	""

#define kvm_call_hyp(f, ...)	f(__VA_ARGS__)
#define kvm_nvhe_sym(x)		x

/* Memory as EL2 sees it */
extern s64 hyp_physvirt_offset;
#define __hyp_pa(v)		((phys_addr_t)(v) + hyp_physvirt_offset)
unsigned long kern_hyp_va(unsigned long va);

/* The caches are coherent; what is cleaned is looked at. */
void kvm_flush_dcache_to_poc(void *va, size_t size);
void __clean_dcache_guest_page(void *va, size_t size);
void __invalidate_icache_guest_page(void *va, size_t size);

typedef u64 pteval_t;

#include <asm/pgtable-hwdef.h>

/* Translation tables: attributes (arch/arm64/include/asm/memory.h) */
#define MT_NORMAL		0
#define MT_DEVICE_nGnRE		4
#define MT_S2_NORMAL		0xf
#define MT_S2_NORMAL_NC		5
#define MT_S2_DEVICE_nGnRE	1
#define MT_S2_FWB_NORMAL	6
#define MT_S2_FWB_NORMAL_NC	5
#define MT_S2_FWB_DEVICE_nGnRE	1
#define PAGE_S2_MEMATTR(attr, has_fwb)					\
	((has_fwb) ? PTE_S2_MEMATTR(MT_S2_FWB_ ## attr) :		\
		     PTE_S2_MEMATTR(MT_S2_ ## attr))

/* TLBs */
struct kvm_s2_mmu;
#define TLBI_TTL_UNKNOWN	0x7fffffff
#define MAX_TLBI_RANGE_PAGES	(1UL << 21)
void __kvm_tlb_flush_vmid(struct kvm_s2_mmu *mmu);
void __kvm_tlb_flush_vmid_ipa(struct kvm_s2_mmu *mmu, phys_addr_t ipa, int level);
void __kvm_tlb_flush_vmid_ipa_nsh(struct kvm_s2_mmu *mmu, phys_addr_t ipa, int level);
void __kvm_tlb_flush_vmid_range(struct kvm_s2_mmu *mmu, phys_addr_t start,
				unsigned long pages);
void __kvm_flush_cpu_context(struct kvm_s2_mmu *mmu);
void fake_tlbi_hyp(unsigned long va);
#define __TLBI_VADDR(addr, asid)	(addr)
#define __tlbi_level(op, addr, level)	fake_tlbi_hyp(addr)
#define __tlbi(op)		barrier()
#define __tlbi_sync_s1ish_hyp()	barrier()

/* System registers */
enum fake_sysreg {
	SYS_SCTLR, SYS_VBAR, SYS_ESR, SYS_FAR, SYS_ELR, SYS_SPSR, SYS_TRFCR, SYS_PMSCR,
	hcr_el2, vttbr_el2,
	FAKE_SYSREGS
};

extern u64 fake_el1[FAKE_SYSREGS], fake_el2[FAKE_SYSREGS];
u64 *fake_el1_reg(enum fake_sysreg reg);
#define read_sysreg_el1(r)	(*fake_el1_reg(r))
#define read_sysreg_el2(r)	(fake_el2[r])
#define write_sysreg_el1(v, r)	(*fake_el1_reg(r) = (v))
#define write_sysreg_el2(v, r)	(fake_el2[r] = (v))
u64 fake_isr_el1(void);
u64 fake_id_aa64isar0_el1(void);
#define INIT_PSTATE_EL1		0x3c5UL
#define SPSR_EL2		SYS_SPSR
#define read_sysreg(r)		fake_##r()
#define write_sysreg(v, r)	(fake_el2[r] = (v))

#endif /* __FAKE_ASM_FAKE_H */
