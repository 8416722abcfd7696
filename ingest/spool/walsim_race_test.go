//go:build race

package spool

// The race detector makes a seed ten times as slow and has nothing to find in
// one: a simulated life has one goroutine.
const walsimSeeds = 300
