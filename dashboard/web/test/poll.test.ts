import assert from "node:assert/strict";
import { test } from "node:test";
import { rest } from "../src/poll";

test("the slower the answers, the longer the rest, up to a minute", () => {
  assert.equal(rest(5, 1000), 1000);
  assert.equal(rest(800, 1000), 4000);
  assert.equal(rest(90_000, 1000), 60_000);
});
