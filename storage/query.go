package storage

// maxRows is the most rows that an answer can have.
const maxRows = 10_000
