// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An example VMM with libvpatch in it.
 *
 *	vmm --kernel guest.elf --mem FILE|SIZE[M|G] [--vcpus N] [--control SOCKET] [--state-dir DIR]
 *
 * --mem FILE: RAM is the file, shared, so that somebody else can look at it. Ends when the guest is
 * shut down (triple fault, or a write to port 0xf4) or is told to quit.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/vmm/vmm.h"

static void options(struct vmm *v, int argc, char **argv)
{
	static const struct option opts[] = {
		{"kernel", 1, NULL, 'k'},  {"mem", 1, NULL, 'm'},       {"vcpus", 1, NULL, 'n'},
		{"control", 1, NULL, 'c'}, {"state-dir", 1, NULL, 's'}, {0},
	};
	int o;

	v->n_vcpus = 1;
	v->mem = "64M";
	v->state_dir = "/tmp/vmm-state";
	while ((o = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		if (o == 'k')
			v->kernel = optarg;
		else if (o == 'm')
			v->mem = optarg;
		else if (o == 'n')
			v->n_vcpus = (unsigned)strtoul(optarg, NULL, 10);
		else if (o == 'c')
			v->control = optarg;
		else if (o == 's')
			v->state_dir = optarg;
		else
			exit(2);
	}
	if (!v->kernel || v->n_vcpus == 0 || v->n_vcpus > VCPUS_MAX || optind != argc) {
		fprintf(stderr,
			"vmm --kernel guest.elf --mem FILE|SIZE [--vcpus N] [--control SOCKET] "
			"[--state-dir DIR]\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct vmm vmm;

	options(&vmm, argc, argv);
	signal(SIGPIPE, SIG_IGN);
	vmm_start(&vmm);
	if (vmm.control)
		control_run(&vmm);
	vmm_wait(&vmm);
	if (vmm.control)
		unlink(vmm.control);
	return 0;
}
