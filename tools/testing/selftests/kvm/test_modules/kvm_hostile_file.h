/* SPDX-License-Identifier: GPL-2.0-only */
/* What the modules of the hostile host share: files of KVM, and stores that may fail. */
#ifndef KVM_HOSTILE_FILE_H
#define KVM_HOSTILE_FILE_H

#include <linux/dcache.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/string.h>
#include <linux/uaccess.h>

/* The vCPU behind a file, or an error pointer: -EBADF, -EINVAL for another file. */
static inline struct kvm_vcpu *vcpu_of(struct file *file)
{
	static const char prefix[] = "anon_inode:kvm-vcpu:";
	char name[64], *path;

	if (!file)
		return ERR_PTR(-EBADF);
	/* Its operations are not ours to see, but its name is. */
	path = d_path(&file->f_path, name, sizeof(name));
	if (IS_ERR(path) || strncmp(path, prefix, sizeof(prefix) - 1))
		return ERR_PTR(-EINVAL);
	return file->private_data;
}

/* The address is the test's word: as long as it is mapped, all will do. */
static inline int store_nofault(void *p, u64 val, u64 len)
{
	pagefault_disable();
	switch (len) {
	case 1:
		__put_kernel_nofault(p, (u8 *)&val, u8, fault);
		break;
	case 4:
		__put_kernel_nofault(p, (u32 *)&val, u32, fault);
		break;
	default:
		__put_kernel_nofault(p, &val, u64, fault);
	}
	pagefault_enable();
	return 0;
fault:
	pagefault_enable();
	return -EFAULT;
}

#endif /* KVM_HOSTILE_FILE_H */
