"use strict";
// Samples of the browser as the 16-bit samples of a board.
const sound = (() => {
  const toInt16 = (audio) => Int16Array.from(audio, (x) =>
    Math.max(-32768, Math.min(32767, Math.floor(32768 * x + 0.5))));

  // Opens the microphone at a rate and gives its samples to `take`; resolves to a function that
  // closes it.
  async function microphone(rate_hz, take) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1,
      echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    const context = new AudioContext({ sampleRate: rate_hz });
    // An AudioWorklet would need a policy that lets scripts run from addresses.
    const node = context.createScriptProcessor(1024, 1, 1);
    node.onaudioprocess = ({ inputBuffer }) => take(toInt16(inputBuffer.getChannelData(0)));
    context.createMediaStreamSource(stream).connect(node);
    node.connect(context.destination); // without it the node is not called; it plays silence
    return () => {
      node.onaudioprocess = null;
      stream.getTracks().forEach((track) => track.stop());
      context.close();
    };
  }

  return { toInt16, microphone };
})();
