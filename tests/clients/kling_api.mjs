// Walks a client nobody here wrote through a generation: create, poll, succeed, fetch, and meet two refusals.
import { KlingAPI } from 'kling-api';

const [baseUrl, accessKey, externalId] = process.argv.slice(2);
const api = new KlingAPI({ accessKey, secretKey: 'secret', baseUrl });
const wanted = { prompt: 'A red fox', model_name: 'kling-v1-6', duration: '5', external_task_id: externalId };

const refusal = async (call) => {
  try {
    await call();
    return 'no refusal';
  } catch (error) {
    return { code: error.code, status: error.statusCode ?? error.status, message: error.message };
  }
};

const created = await api.textToVideo(wanted);
const id = created.data.task_id;
const result = await api.waitForVideoResult(id, undefined, { interval: 20, timeout: 20_000, showSpinner: false });
const video = await fetch(result.data.task_result.videos[0].url);
const report = {
  created,
  result,
  bytes: (await video.arrayBuffer()).byteLength,
  type: video.headers.get('content-type'),
  again: await refusal(() => api.textToVideo(wanted)),
  unknown: await refusal(() => api.queryTextToVideoTask('nobody')),
  byExternalId: (await api.queryTextToVideoTask(externalId)).data.task_id,
};
console.log(JSON.stringify(report));
