# SPDX-License-Identifier: LGPL-2.1-or-later
# gnuplot -e "dat='window.dat'; svg='window.svg'": windows by driver, vCPUs and sites; what the guest saw.
set terminal svg size 1200,900 font "sans,12" background "#ffffff"
set output svg
set datafile missing "-"
set multiplot layout 2,2
set grid
set key bottom right
set style line 1 lc rgb "#0072b2" lw 2 pt 7 ps 0.5
set style line 2 lc rgb "#d55e00" lw 2 pt 7 ps 0.5
set style line 3 lc rgb "#009e73" lw 2 pt 7 ps 0.5
set style line 4 lc rgb "#999999" lw 2 pt 7 ps 0.5
set style line 5 lc rgb "#000000" lw 2 pt 7 ps 0.5
set style line 6 lc rgb "#cc79a7" lw 2 pt 7 ps 0.5

set logscale x
set yrange [0:1]
set title "Window, 2 busy vCPUs, 1 site"
set xlabel "us"
set ylabel "share of windows that are at most so long"
plot dat index "window_ns-kvm" with lines ls 1 title "kvm", \
  dat index "window_ns-kvm-apply" with lines ls 6 title "kvm, apply", \
  dat index "window_ns-gdb" with lines ls 2 title "gdb", \
  dat index "window_ns-qmp-stop-cont" with lines ls 3 title "QMP stop+cont", \
  dat index "window_ns-floor-vpatch" with lines ls 4 title "floor, vpatch", \
  dat index "window_ns-floor-ptrace" with lines ls 5 title "floor, ptrace"

set title "Longest gap that the guest saw in its TSC, 2 busy vCPUs"
set ylabel "share of operations"
plot dat index "guest_gap_ns-kvm" with lines ls 1 title "kvm", \
  dat index "guest_gap_ns-gdb" with lines ls 2 title "gdb", \
  dat index "guest_gap_ns-qmp-stop-cont" with lines ls 3 title "QMP stop+cont", \
  dat index "guest_gap_ns-floor-ptrace" with lines ls 5 title "floor, ptrace", \
  dat index "guest_gap_ns-nothing" with lines ls 4 title "nothing done"

set logscale y
set autoscale y
set key outside bottom center horizontal
set title "Window by vCPUs, 1 site: median, least to 90 of 100"
set logscale x 2
set xlabel "vCPUs"
set ylabel "us"
plot dat index "vcpus-idle-kvm" using 1:2:3:4 with yerrorlines ls 1 title "kvm, halted", \
  dat index "vcpus-busy-kvm" using 1:2:3:4 with yerrorlines ls 1 dt 2 title "kvm, busy", \
  dat index "vcpus-idle-qmp-stop-cont" using 1:2:3:4 with yerrorlines ls 3 title "QMP, halted", \
  dat index "vcpus-busy-qmp-stop-cont" using 1:2:3:4 with yerrorlines ls 3 dt 2 title "QMP, busy", \
  dat index "vcpus-idle-floor-ptrace-fifo" using 1:2:3:4 with yerrorlines ls 5 title "floor, halted", \
  dat index "vcpus-busy-floor-ptrace-fifo" using 1:2:3:4 with yerrorlines ls 5 dt 2 title "floor, busy"

set title "Window by sites, 2 vCPUs: median, least to 90 of 100"
set logscale x 10
set xlabel "sites"
plot dat index "sites-idle-kvm" using 1:2:3:4 with yerrorlines ls 1 title "kvm, halted", \
  dat index "sites-busy-kvm" using 1:2:3:4 with yerrorlines ls 1 dt 2 title "kvm, busy", \
  dat index "sites-idle-gdb" using 1:2:3:4 with yerrorlines ls 2 title "gdb, halted", \
  dat index "sites-busy-gdb" using 1:2:3:4 with yerrorlines ls 2 dt 2 title "gdb, busy"
unset multiplot
