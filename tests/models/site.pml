/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One instruction is changed under CPUs that fetch from instruction caches nobody keeps coherent. What the
 * poker does, `program`, is written by tests/tools/pokemodel from the poke program that arch/poke.c makes;
 * it is included ahead of this file, with
 *
 *	NONE, OLD, NEW, TRAP, SKIP
 *	UNITS       pieces that one fetch or store takes as a whole; piece 0 begins the instruction
 *	bytes(u, v) prints the bytes of piece u when it is OLD, NEW, TRAP or SKIP
 *
 * A CPU arrives at the site again and again. Each piece comes out of its cache, however old that is, or out
 * of memory: a cache may lose or take in a line at any moment. It runs what it got: all OLD, all NEW, the
 * TRAP or the SKIP that begins the instruction; anything else is torn. In the handler and between
 * instructions it may be made to synchronise, in the middle of an instruction it may not.
 */
#ifndef FIRST /* what the first piece is before */
#define FIRST OLD
#endif
#ifndef LAST /* and after: NEW, or a SKIP that rests */
#define LAST NEW
#endif

#define CPUS 2
#define AT(cpu, u) ((cpu) * UNITS + (u))

byte mem[UNITS];
byte cache[CPUS * UNITS]; /* NONE: not in it */
bool want[CPUS];          /* is to synchronise */
bool held[CPUS];
bool hold;
bool told;                /* the trap's record is there */
bool event;
bool over;                /* the poker has ended */

/* --- the poker's words ------------------------------------------------------------------------ */

inline store(u, v) { mem[u] = v }
inline tell() { told = true }
inline forget() { told = false }
inline text_event() { event = true }

/* Caches are maintained: whoever fetches from now on gets what memory has. */
inline sync_data()
{
	d_step {
		i = 0;
		do
		:: i < CPUS * UNITS -> cache[i] = NONE; i++
		:: else -> break
		od;
		i = 0
	}
}

inline sync_all()
{
	sync_data();
	i = 0;
	do
	:: i < CPUS -> want[i] = true; i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < CPUS -> (!want[i]); i++
	:: else -> break
	od;
	i = 0
}

inline hold_all()
{
	hold = true;
	i = 0;
	do
	:: i < CPUS -> (held[i]); i++
	:: else -> break
	od;
	i = 0
}

inline let_go() { sync_data(); hold = false }

proctype poker()
{
	byte i;

	program();
	over = true
}

/* --- a CPU ------------------------------------------------------------------------------------ */

inline drop()
{
	d_step {
		u = 0;
		do
		:: u < UNITS -> cache[AT(me, u)] = NONE; u++
		:: else -> break
		od;
		u = 0
	}
}

/* Where a CPU may be told to synchronise, and to stand still. */
inline boundary()
{
	if
	:: want[me] -> drop(); want[me] = false
	:: else -> skip
	fi;
	if
	:: hold -> held[me] = true; (!hold); held[me] = false; drop()
	:: else -> skip
	fi
}

inline fetch(u)
{
	if
	:: atomic { cache[AT(me, u)] != NONE -> got[u] = cache[AT(me, u)] }
	:: atomic { true -> got[u] = mem[u]; cache[AT(me, u)] = mem[u] }
	:: d_step { u == 0 -> /* all of the line, or of both lines */
		do
		:: u < UNITS -> cache[AT(me, u)] = mem[u]; u++
		:: else -> break
		od;
		u = 0;
		got[0] = cache[AT(me, 0)] }
	fi
}

/* What is wrong with what it ran. */
#define MIXED      1
#define LATE_OLD   2
#define LATE_END   3
#define LATE_STAGE 4
#define UNKNOWN    5

inline say(wrong)
{
	if
	:: wrong == MIXED -> printf(": neither the old nor the new instruction\n")
	:: wrong == LATE_OLD -> printf(": the old instruction after its text poke event\n")
	:: wrong == LATE_END -> printf(": the old instruction after all is over\n")
	:: wrong == LATE_STAGE -> printf(": the stage after all is over\n")
	:: wrong == UNKNOWN -> printf(": a trap that nobody knows\n")
	fi
}

inline torn(wrong)
{
	printf("CPU %d at the site ran ", me);
	u = 0;
	do
	:: u < UNITS -> bytes(u, got[u]); u++
	:: else -> break
	od;
	say(wrong);
	assert(false)
}

inline execute()
{
	u = 0;
	do
	:: u < UNITS ->
		fetch(u);
		if
		:: u == 0 && (got[0] == TRAP || got[0] == SKIP) -> break
		:: else -> u++
		fi
	:: else -> break
	od;
	what = got[0];
	u = 1;
	do
	:: what != TRAP && what != SKIP && u < UNITS ->
		if
		:: got[u] != what -> torn(MIXED)
		:: else -> u++
		fi
	:: else -> break
	od;
	u = 0;
	if
	:: what == OLD && event -> torn(LATE_OLD)
	:: what == OLD && last -> torn(LATE_END)
	:: else -> skip
	fi
}

/* The handler: who finds no record reads the site again. */
inline handle()
{
	boundary();
	if
	:: told -> what = NEW
	:: else ->
		boundary();
#ifdef NO_REREAD
		torn(UNKNOWN)
#else
		if
		:: mem[0] == TRAP -> torn(UNKNOWN)
		:: else -> what = NONE
		fi
#endif
	fi;
	boundary()
}

proctype cpu(byte me)
{
	byte got[UNITS];
	byte u, what;
	bool last;

	do
	:: boundary();
	   last = over;
	   execute();
	   if
	   :: last && (what == TRAP || what == SKIP) && what != LAST -> torn(LATE_STAGE)
	   :: last && what == LAST -> break
	   :: last && what == NEW && what != LAST -> torn(LATE_STAGE)
	   :: what == TRAP -> handle()
	   :: else -> skip
	   fi;
	   what = NONE; u = 0;
	   got[0] = NONE
	od;
	/* It still answers. */
end:	do
	:: boundary()
	od
}

init {
	d_step {
		byte i = 0;
		do
		:: i < UNITS -> mem[i] = OLD; i++
		:: else -> break
		od;
		mem[0] = FIRST
	}
	run poker();
	run cpu(0);
	run cpu(1)
}
