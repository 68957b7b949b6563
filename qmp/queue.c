/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp/priv.h"

struct json_object *qmp_queue_pop(struct qmp_queue *u)
{
	struct json_object *event;

	if (!u->count)
		return NULL;
	event = u->at[u->first].event;
	u->weight -= u->at[u->first].weight;
	u->first = (u->first + 1) % QMP_EVENTS_MAX;
	u->count--;
	return event;
}

void qmp_queue_clear(struct qmp_queue *u)
{
	while (u->count)
		json_object_put(qmp_queue_pop(u));
}

void qmp_queue_push(struct qmp_queue *u, struct json_object *event, size_t weight)
{
	unsigned last;

	if (weight > QMP_QUEUE_WEIGHT_MAX) {
		json_object_put(event);
		u->lost++;
		return;
	}
	while (u->count == QMP_EVENTS_MAX || u->weight > QMP_QUEUE_WEIGHT_MAX - weight) {
		json_object_put(qmp_queue_pop(u));
		u->lost++;
	}
	last = (u->first + u->count) % QMP_EVENTS_MAX;
	u->at[last].event = event;
	u->at[last].weight = weight;
	u->weight += weight;
	u->count++;
}
