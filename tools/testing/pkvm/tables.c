// SPDX-License-Identifier: GPL-2.0-only
/*
 * Another reading of the translation tables, from the architecture's text (Arm ARM
 * D8.2 and D8.3, 4K granule) and not from the code under test. Reads memory as the
 * host's view has it; changes nothing.
 */
#include "fake.h"

/**
 * entry_is_table() - Does an entry point to a table of the next level?
 * @pte: the entry.
 * @level: of the table that it stands in, -1 to 3.
 *
 * Return: true if it does.
 */
bool entry_is_table(u64 pte, int level)
{
	return level < 3 && (pte & 3) == 3;
}

/**
 * entry_phys() - The address in an entry.
 * @pte: the entry, valid.
 *
 * Return: the address: bits 47:12, or with LPA2 bits 49:12, and 51:50 in 9:8.
 */
u64 entry_phys(u64 pte)
{
	if (!fake_features.lpa2)
		return pte & 0x0000fffffffff000UL;

	return (pte & 0x0003fffffffff000UL) | ((pte >> 8) & 3) << 50;
}

/**
 * level_size() - What one entry of a level spans.
 * @level: the level, -1 to 3.
 *
 * Return: bytes.
 */
u64 level_size(int level)
{
	return 1UL << (12 + 9 * (3 - level));
}

static const u64 *table_at(phys_addr_t phys)
{
	if (page_index(phys) < 0)
		die("a table at %#lx, which is no memory", phys);

	return host_ptr(phys);
}

static phys_addr_t pgd_phys(const struct kvm_pgtable *pgt)
{
	return (unsigned long)pgt->pgd - EL2_VIEW;
}

/**
 * table_lookup() - Find what a table says of an address.
 * @pgt: where the table is, and of what form.
 * @ia: the address.
 * @level: level of the answer.
 *
 * Return: the entry, which is no table.
 */
u64 table_lookup(const struct kvm_pgtable *pgt, u64 ia, int *level)
{
	const u64 *table = table_at(pgd_phys(pgt));
	u64 pte;
	int l = pgt->start_level;

	/* Tables of the first level follow upon each other. */
	pte = table[ia / level_size(l)];
	while (entry_is_table(pte, l)) {
		table = table_at(entry_phys(pte));
		l++;
		pte = table[ia / level_size(l) % 512];
	}
	*level = l;

	return pte;
}

/**
 * table_path() - Find the tables on the way to an address.
 * @pgt: where the table is.
 * @ia: the address.
 * @path: filled with the address of the table of each level below the first.
 *
 * Return: how many there are.
 */
unsigned int table_path(const struct kvm_pgtable *pgt, u64 ia, phys_addr_t path[5])
{
	const u64 *table = table_at(pgd_phys(pgt));
	int l = pgt->start_level;
	u64 pte = table[ia / level_size(l)];
	unsigned int nr = 0;

	while (entry_is_table(pte, l)) {
		path[nr++] = entry_phys(pte);
		table = table_at(entry_phys(pte));
		l++;
		pte = table[ia / level_size(l) % 512];
	}

	return nr;
}

static void walk_table(struct table_walk *w, phys_addr_t phys, u64 ia, int level)
{
	const u64 *table = table_at(phys);
	unsigned int i, used = 0;

	for (i = 0; i < 512; i++) {
		if (!table[i])
			continue;
		used++;
		if (entry_is_table(table[i], level))
			walk_table(w, entry_phys(table[i]), ia + i * level_size(level),
				   level + 1);
		else if (w->leaf)
			w->leaf(w, ia + i * level_size(level), table[i], level);
	}
	if (w->table)
		w->table(w, phys, ia, level, used);
}

/**
 * table_walk() - Visit everything that a table holds.
 * @pgt: where the table is.
 * @w: what to do.
 */
void table_walk(const struct kvm_pgtable *pgt, struct table_walk *w)
{
	u64 size = 512 * level_size(pgt->start_level), ia;
	phys_addr_t phys = pgd_phys(pgt);

	for (ia = 0; ia < 1UL << pgt->ia_bits; ia += size, phys += PAGE_SIZE)
		walk_table(w, phys, ia, pgt->start_level);
}
