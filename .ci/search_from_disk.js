// The search runs in a worker, and a browser starts no worker for a page that lies on a disk: a hidden frame, which
// runs the same script and answers with messages, stands in for it.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.waiting = [];
      window.addEventListener("message", (event) => {
        if (event.source !== frame.contentWindow) return;
        if (event.data === "search_from_disk ready") {
          this.ready = true;
          this.waiting.splice(0).forEach((data) => this.postMessage(data));
          return;
        }
        const answer = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(answer);
        this.onmessage?.(answer);
      });
      // The frame replaces its own postMessage, so that of this page is called for it.
      const send = window.postMessage;
      this.postMessage = (data) =>
        this.ready ? send.call(frame.contentWindow, data, "*") : this.waiting.push(data);
      this.terminate = () => frame.remove();
      frame.srcdoc = `<script>
        var postMessage = (data) => parent.postMessage(data, "*");
        var importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((done) => {
          const script = document.createElement("script");
          script.src = url;
          script.onload = script.onerror = done;
          document.head.append(script);
        })), Promise.resolve());
      <\/script><script src="${url}"><\/script><script>postMessage("search_from_disk ready")<\/script>`;
    }
  };
}
