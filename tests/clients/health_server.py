"""A gRPC server with nothing but grpcio's own health service.

Says `port <n>`, then reads lines `<service> SERVING` or `<service> NOT_SERVING` (`-`: the whole server), and says
`set 1` when that holds. Ends with its input.
"""

import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

server = grpc.server(futures.ThreadPoolExecutor(4))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"port {port}", flush=True)
for line in sys.stdin:
    service, status = line.split()
    servicer.set("" if service == "-" else service, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    print("set 1", flush=True)
server.stop(None)
