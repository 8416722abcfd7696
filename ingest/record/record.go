// Package record turns an Event into bytes and back: the payload of one spool
// record. It is the room's only place that knows the layout, which is versioned
// because spools outlive binaries.
package record
