/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A bare-metal guest has no static keys. */
