/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The looks at guest memory that window, repair and live change share. With w->p NULL the guest runs:
 * nothing is asked about vCPUs then, and what was read may change again.
 */
#ifndef VP_ENGINE_VERIFY_H
#define VP_ENGINE_VERIFY_H

#include "vmm-agent/engine/window.h"

#define ENG_PLACE_MAX (HF_SYMBOL_MAX + 32)

/* The watchdog has taken over: touch nothing more. */
bool eng_window_expired(const struct eng_window *w);
/* Hands r through, with words. */
int eng_window_seam(struct eng_window *w, int r, const char *what);
/* VP_E_DEADLINE when the time is over. */
int eng_window_in_time(struct eng_window *w) VP_MUST_USE;

/* Every check there is, before the first byte is written. */
int eng_window_verify(struct eng_window *w) VP_MUST_USE;
/* Whether everything is there as the last steps put it. */
int eng_window_read_back(struct eng_window *w) VP_MUST_USE;
int eng_window_holds(struct eng_window *w, vp_gpa_t at, const uint8_t *bytes,
		     size_t len) VP_MUST_USE;
/* Equal to what the area is to hold, but for the state word, which the last step changes. */
bool eng_area_equal(const struct eng_area *a, const uint8_t *now);

#endif
