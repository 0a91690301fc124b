// Runs on the audio thread (an audio worklet must be a file of its own): hands on what the microphone hears, as mono.

registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([channels]) {
    if (!channels.length) return true;
    const mono = new Float32Array(channels[0].length);
    for (const channel of channels) {
      for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / channels.length;
    }
    this.port.postMessage(mono, [mono.buffer]);
    return true;
  }
});
