import assert from "node:assert/strict";
import { test } from "node:test";
import { countriesNamed, countryName, valueName } from "../src/dimensions";

test("values that are not set have a name that says so", () => {
  assert.equal(valueName("visit:source", ""), "Direct / None");
  assert.equal(valueName("visit:country", "(not set)"), "Unknown");
});

test("a value cannot turn the direction of writing or hide characters", () => {
  assert.equal(valueName("event:page", "/\u202egnp.elif"), "/\ufffdgnp.elif");
  assert.equal(valueName("event:page", "/a\u0000b\nc\u200bd"), "/a\ufffdb\ufffdc\ufffdd");
  assert.equal(valueName("event:page", "/مرحبا"), "/مرحبا");
});

test("countries have names, and codes that are none stay as they are", () => {
  assert.notEqual(countryName("DE"), "DE");
  assert.equal(countryName("<b>"), "<b>");
  assert.equal(valueName("visit:region", "DE-BE"), `BE, ${countryName("DE")}`);
});

test("countries are found by part of their name, former ones are not", () => {
  assert.ok(countriesNamed(countryName("FR").slice(0, 4).toUpperCase(), 10).includes("FR"));
  assert.deepEqual(countriesNamed("soviet", 5), []);
  assert.equal(countriesNamed("a", 4).length, 4);
});
