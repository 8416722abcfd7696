//go:build !race

package spool

const walsimSeeds = 3000
