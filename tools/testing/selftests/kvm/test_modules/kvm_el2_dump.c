// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/kvm_el2_dump: the entries of the tables that EL2 keeps, many at a time, for a
 * test that knows what has to be in them. Owns no judgement. Without NVHE_EL2_DEBUG
 * EL2 tells nothing, and each ioctl fails with EOPNOTSUPP.
 *
 * Only for tests.
 */
#include <linux/arm-smccc.h>
#include <linux/bitfield.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#include <asm/kvm_asm.h>
#include <asm/kvm_pgtable.h>
#include <asm/pkvm_dump.h>
#include <asm/virt.h>

#include "kvm_el2_dump.h"

static_assert(!(PKVM_DUMP_LEVEL ^ GENMASK_ULL(7, 0)));
static_assert(!(PKVM_DUMP_REFCOUNT ^ GENMASK_ULL(23, 8)));
static_assert(!(PKVM_DUMP_BLOCKS ^ GENMASK_ULL(39, 32)));

/* The owner of an entry that is not valid: see KVM_INVALID_PTE_OWNER_MASK. */
#define OWNER_ID	GENMASK(9, 2)

static int dump_one(struct ked_page *p)
{
	struct arm_smccc_res res;

	switch (p->table) {
	case KED_HOST:
		arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(__pkvm_dump_host_page), p->frame, &res);
		break;
	case KED_HYP:
		arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(__pkvm_dump_hyp_page), p->frame, &res);
		break;
	case KED_GUEST:
		arm_smccc_1_1_hvc(KVM_HOST_SMCCC_FUNC(__pkvm_dump_guest_page), p->handle,
				  p->frame, &res);
		break;
	default:
		return -EINVAL;
	}
	if (res.a0)
		return -EOPNOTSUPP;
	p->ret = res.a1;
	p->entry = res.a2;
	p->note = res.a3;
	return 0;
}

static int do_dump(const struct ked_dump *args)
{
	struct ked_page __user *user = u64_to_user_ptr(args->pages);
	struct ked_page p;
	int err;
	u32 i;

	for (i = 0; i < args->nr; i++) {
		if (copy_from_user(&p, &user[i], sizeof(p)))
			return -EFAULT;
		err = dump_one(&p);
		if (err)
			return err;
		if (copy_to_user(&user[i], &p, sizeof(p)))
			return -EFAULT;
		cond_resched();
	}
	return 0;
}

static int owner_of(u64 entry)
{
	if (!entry)
		return KED_OF_HOST;
	if (entry & PTE_VALID) {
		if (entry & PKVM_DUMP_BORROWED)
			return KED_BORROWED;
		return entry & PKVM_DUMP_SHARED ? KED_SHARED : KED_OF_HOST;
	}
	switch (FIELD_GET(OWNER_ID, entry)) {
	case PKVM_DUMP_HYP:
		return KED_OF_HYP;
	case PKVM_DUMP_FFA:
		return KED_OF_FFA;
	case PKVM_DUMP_GUEST:
		return KED_OF_GUEST;
	default:
		return -EINVAL;
	}
}

static int do_count(struct ked_count *args)
{
	u64 pfn = args->pfn, end = args->pfn + args->nr, next;
	struct ked_page p;
	int err, owner;

	memset(args->pages, 0, sizeof(args->pages));
	while (pfn < end) {
		p = (struct ked_page) { .table = KED_HOST, .frame = pfn };
		err = dump_one(&p);
		if (err)
			return err;
		if (p.ret)
			return p.ret;
		owner = owner_of(p.entry);
		if (owner < 0)
			return owner;
		/* One entry speaks for all that lies below it. */
		next = ALIGN(pfn + 1, kvm_granule_size(KED_LEVEL(p.note)) >> PAGE_SHIFT);
		next = min(next, end);
		args->pages[owner] += next - pfn;
		pfn = next;
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static long ked_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	struct ked_count count;
	struct ked_dump dump;
	long err;

	switch (cmd) {
	case KED_IOC_DUMP:
		if (copy_from_user(&dump, user, sizeof(dump)))
			return -EFAULT;
		return do_dump(&dump);
	case KED_IOC_COUNT:
		if (copy_from_user(&count, user, sizeof(count)))
			return -EFAULT;
		err = do_count(&count);
		if (!err && copy_to_user(user, &count, sizeof(count)))
			err = -EFAULT;
		return err;
	default:
		return -ENOTTY;
	}
}

static int ked_open(struct inode *inode, struct file *file)
{
	return capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static const struct file_operations ked_fops = {
	.owner		= THIS_MODULE,
	.open		= ked_open,
	.unlocked_ioctl	= ked_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice ked_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "kvm_el2_dump",
	.fops	= &ked_fops,
	.mode	= 0600,
};

static int __init ked_init(void)
{
	return is_protected_kvm_enabled() ? misc_register(&ked_device) : -ENODEV;
}

static void __exit ked_exit(void)
{
	misc_deregister(&ked_device);
}

module_init(ked_init);
module_exit(ked_exit);
MODULE_DESCRIPTION("Entries of EL2's tables for the KVM selftests");
MODULE_LICENSE("GPL");
