// SPDX-License-Identifier: GPL-2.0
/*
 * The functions that ftrace knows. Its own list of them is not exported, and the list that the
 * linker made is freed after boot; so every symbol is asked whether a record lies at its beginning.
 */
#include <linux/kernel.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include "guest-stub/linux/vpatch_stub.h"

struct collect {
	struct stub_sites *s;
	unsigned long stext, etext; /* of the kernel */
	unsigned long record, at;   /* the last record that was found, and the symbol */
	size_t cap, names_len, names_cap;
};

/* Twice the room. */
static int grow(void *from, void **to, size_t len, size_t *cap)
{
	size_t more = *cap ? *cap * 2 : SZ_512K;
	void *p = vmalloc(more);

	if (!p)
		return -ENOMEM;
	if (len)
		memcpy(p, from, len);
	vfree(from);
	*to = p;
	*cap = more;
	return 0;
}

/* Behind names_len; its offset is what a site has for its name until all of them stand still. */
static int put_name(struct collect *c, const char *name, struct vp_site *site)
{
	size_t len = strlen(name) + 1;
	int r = 0;

	if (c->names_len + len > c->names_cap)
		r = grow(c->s->names, (void **)&c->s->names, c->names_len, &c->names_cap);
	if (r < 0)
		return r;
	memcpy(c->s->names + c->names_len, name, len);
	site->name = (const char *)c->names_len;
	c->names_len += len;
	return 0;
}

static bool printable(const char *name)
{
	size_t n = 0;

	while (name[n] > 0x20 && name[n] < 0x7f)
		n++;
	return n > 0 && name[n] == '\0' && n <= VP_SITE_NAME_MAX;
}

/*
 * Symbols ascend. Of several at one address ftrace takes the first, and so do we; a short function
 * in front of another would find the other's record, which then turns out to be nearer to that.
 */
static int collect_one(void *data, const char *name, unsigned long at)
{
	struct vp_site site = {.kind = VP_SITE_FUNCTION,
			       .flags = VP_SITE_SHARED,
			       .dispatcher = VP_SITE_NO_DISPATCHER};
	struct collect *c = data;
	unsigned long record;
	int r = 0;

	if (at < c->stext || at >= c->etext || !printable(name))
		return 0;
	record = ksym_ftrace_record(at, at + STUB_RECORD_MAX);
	if (!record || record < at || (record == c->record && at == c->at))
		return 0;
	if (!arch_site(record, &site)) {
		c->s->odd++;
		return 0;
	}
	if (record == c->record && c->s->n)
		c->s->n--;
	c->record = record;
	c->at = at;
	if ((c->s->n + 1) * sizeof(site) > c->cap)
		r = grow(c->s->site, (void **)&c->s->site, c->s->n * sizeof(site), &c->cap);
	if (r == 0)
		r = put_name(c, name, &site);
	if (r == 0)
		c->s->site[c->s->n++] = site;
	return r;
}

int sites_collect(struct stub_sites *ret)
{
	struct collect c = {.s = ret};
	int r;

	*ret = (struct stub_sites){};
	c.stext = ksym_address("_stext");
	c.etext = ksym_address("_etext");
	r = c.stext && c.etext ? ksym_each(collect_one, &c) : -ENOENT;
	if (r == 0 && ret->n == 0)
		r = -ENOENT;
	if (r < 0) {
		pr_err("functions cannot be listed: %d\n", r);
		sites_free(ret);
		return r;
	}
	for (u32 i = 0; i < ret->n; i++)
		ret->site[i].name = ret->names + (size_t)ret->site[i].name;
	return 0;
}

void sites_free(struct stub_sites *sites)
{
	vfree(sites->site);
	vfree(sites->names);
	*sites = (struct stub_sites){};
}
