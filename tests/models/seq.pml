/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several instructions in a row are changed, with every CPU held at each step: what is left are contexts
 * that were preempted or interrupted within them, and go on there. tests/tools/pokemodel writes, ahead of
 * this file,
 *
 *	WORDS        instructions
 *	DIFFER(i)    whether the old and the new instruction i differ
 *	bytes(i, v)  prints instruction i when it is OLD, NEW or BRANCH (over all of them)
 *	first()      what is there at the start
 *	program()    the steps; both of put(i, v) and none_inside()
 *
 * A context that ran an old instruction and a new one where they differ did what neither program does.
 */
#define TASKS 2

byte word[WORDS];
byte where[TASKS]; /* the instruction that it runs next; 0: outside */

inline put(i, v) { word[i] = v }
inline none_inside() { (where[0] == 0 && where[1] == 0) }

proctype poker()
{
	program()
}

proctype task(byte me)
{
	bool old, new;
	byte v, i;
	byte ran[WORDS];

	do
	:: atomic { /* one instruction, with nothing in between */
		i = where[me];
		v = word[i];
		ran[i] = v;
		if
		:: v == BRANCH -> where[me] = 0
		:: else ->
			if
			:: DIFFER(i) && v == OLD -> old = true
			:: DIFFER(i) && v == NEW -> new = true
			:: else -> skip
			fi;
			where[me] = (i + 1 == WORDS -> 0 : i + 1)
		fi;
		if
		:: old && new ->
			printf("CPU %d at the site ran ", me);
			i = 0;
			do
			:: i < WORDS && ran[i] != NONE -> printf("+%d ", 4 * i); bytes(i, ran[i]); i++
			:: else -> break
			od;
			printf(": the old first and the new second\n");
			assert(false)
		:: else -> skip
		fi;
		if
		:: where[me] == 0 ->
			old = false; new = false;
			i = 0;
			do
			:: i < WORDS -> ran[i] = NONE; i++
			:: else -> break
			od
		:: else -> skip
		fi;
		i = 0; v = 0
	   }
	od
}

init {
	d_step { first() }
	run poker();
	run task(0);
	run task(1)
}
