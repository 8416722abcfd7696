package event_test

import (
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
)

// Zones that change their clocks at midnight, in either direction, or by
// half an hour.
var oddZones = []string{
	"UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/Havana", "America/Asuncion", "America/Santiago",
	"Atlantic/Azores", "Africa/Cairo", "Asia/Beirut", "Asia/Kathmandu", "Australia/Lord_Howe",
}

func TestDayStartIsItsFirstInstant(t *testing.T) {
	for _, name := range oddZones {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for d := event.Day(9000); d < 25000; d++ {
			start := d.Start(zone)
			if got := event.DayOf(start, zone); got != d {
				t.Fatalf("%s: %v starts at %v, which is on %v", name, d, start, got)
			}
			if got := event.DayOf(start.Add(-time.Second), zone); got != d-1 {
				t.Fatalf("%s: the second before %v starts is on %v", name, d, got)
			}
		}
	}
}
