// @huggingface/inference against a running service: check_clients.mjs URL.

import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { InferenceClient } from "@huggingface/inference";

const url = process.argv[2];
const data = await openAsBlob("samples/rock.flac");

for (const endpointUrl of [`${url}/`, `${url}/predict`]) {
  const answer = await new InferenceClient("", { endpointUrl }).audioClassification({ data });
  assert.equal(answer.length, 5);
  assert.equal(answer[0].label, "rock");
  assert.ok(answer.every(({ label, score }) => typeof label === "string" && Number.isFinite(score)));
}
const refused = new InferenceClient("", { endpointUrl: `${url}/` }).audioClassification({ data: new Blob(["no sound"]) });
await assert.rejects(refused);
console.log("@huggingface/inference: as expected");
