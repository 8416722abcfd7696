import assert from "node:assert/strict";
import { test } from "node:test";
import { rest } from "../src/poll";

test("an open page takes at most a twentieth of the server's time, up to a minute's rest", () => {
  assert.equal(rest(5, 1000), 1000);
  assert.equal(rest(200, 1000), 4000);
  assert.equal(rest(90_000, 1000), 60_000);
});
