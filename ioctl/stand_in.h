/* SPDX-License-Identifier: MIT */
/*
 * What a uAPI header takes from the headers around it, as `svmcts abi` gives it to the compiler before the header.
 *
 * So a xe_drm.h can be checked alone, from any kernel tree, and for 32-bit programs on a machine without a 32-bit C
 * library. The guards keep the real files out when a header next to the checked one includes them.
 */
#define _DRM_H_
#define _LINUX_TYPES_H
#define _UAPI_LINUX_TYPES_H
#define _ASM_GENERIC_INT_LL64_H
#define _UAPI_ASM_GENERIC_INT_LL64_H
#define _LINUX_STDDEF_H
#define _UAPI_LINUX_STDDEF_H
#define _LINUX_IOCTL_H
#define _UAPI_LINUX_IOCTL_H
#define _ASM_GENERIC_IOCTL_H
#define _UAPI_ASM_GENERIC_IOCTL_H

#define __user
#define __force
#define __iomem
#define __bitwise
#define __bitwise__
#define __always_inline inline __attribute__((__always_inline__))
#define __attribute_const__
#define __packed __attribute__((__packed__))
#define __aligned(bytes) __attribute__((__aligned__(bytes)))
#define __counted_by(member)
#define __counted_by_le(member)
#define __counted_by_be(member)
#define __counted_by_ptr(member)
#define __nonstring
#define __kernel_nonstring

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __le16;
typedef __u16 __be16;
typedef __u32 __le32;
typedef __u32 __be32;
typedef __u64 __le64;
typedef __u64 __be64;
typedef __u32 __poll_t;
typedef __u64 __aligned_u64 __attribute__((__aligned__(8)));
typedef __s64 __aligned_s64 __attribute__((__aligned__(8)));
typedef __u64 __aligned_le64 __attribute__((__aligned__(8)));
typedef __u64 __aligned_be64 __attribute__((__aligned__(8)));
typedef __SIZE_TYPE__ __kernel_size_t;
typedef __PTRDIFF_TYPE__ __kernel_ssize_t;
typedef __INTPTR_TYPE__ __kernel_long_t;
typedef __UINTPTR_TYPE__ __kernel_ulong_t;

#define __struct_group(TAG, NAME, ATTRIBUTES, MEMBERS...) \
	union { \
		struct { MEMBERS } ATTRIBUTES; \
		struct TAG { MEMBERS } ATTRIBUTES NAME; \
	} ATTRIBUTES
#define __DECLARE_FLEX_ARRAY(TYPE, NAME) \
	struct { \
		struct { } __empty_ ## NAME; \
		TYPE NAME[]; \
	}

#define _IOC_NONE 0U
#define _IOC_WRITE 1U
#define _IOC_READ 2U
#define _IOC(dir, type, nr, size) (((dir) << 30) | ((size) << 16) | ((type) << 8) | (nr))
#define _IO(type, nr) _IOC(_IOC_NONE, type, nr, 0)
#define _IOW(type, nr, argument) _IOC(_IOC_WRITE, type, nr, sizeof(argument))
#define _IOR(type, nr, argument) _IOC(_IOC_READ, type, nr, sizeof(argument))
#define _IOWR(type, nr, argument) _IOC(_IOC_READ | _IOC_WRITE, type, nr, sizeof(argument))

#define DRM_IOCTL_BASE 'd'
#define DRM_IO(nr) _IO(DRM_IOCTL_BASE, nr)
#define DRM_IOR(nr, argument) _IOR(DRM_IOCTL_BASE, nr, argument)
#define DRM_IOW(nr, argument) _IOW(DRM_IOCTL_BASE, nr, argument)
#define DRM_IOWR(nr, argument) _IOWR(DRM_IOCTL_BASE, nr, argument)
#define DRM_COMMAND_BASE 0x40
#define DRM_COMMAND_END 0xA0
typedef unsigned int drm_handle_t;
