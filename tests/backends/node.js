// Says `port <number>`, then a line for each request that has come to its end: method, target, length of the body.
'use strict';
const http = require('node:http');

const server = http.createServer((request, response) => {
  let length = 0;
  request.on('data', (piece) => { length += piece.length; });
  request.on('end', () => {
    console.log(`${request.method} ${request.url} ${length}`);
    response.end('seen');
  });
});
server.keepAliveTimeout = 60000;
server.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`));
