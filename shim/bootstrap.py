# SPDX-License-Identifier: Apache-2.0
"""Runs a Python function: imports the handler that _HANDLER names, then asks the Runtime API for one invocation after
the other. berth-fn binds this file at /var/runtime/bootstrap.py of the sandbox; the standard library is all it needs.
"""

import http.client
import importlib
import json
import logging
import os
import sys
import time
import traceback

API = "/2018-06-01/runtime"


class InitError(Exception):
    """The handler could not be loaded; carries the error type that callers see."""

    def __init__(self, error_type, message, trace=()):
        super().__init__(message)
        self.error_type = error_type
        self.trace = list(trace)


class Fields:
    """A plain object whose attributes are the given mapping's."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


class Context:
    """What a handler gets as its second argument, with the names that AWS documents."""

    def __init__(self, headers):
        env = os.environ
        self.function_name = env.get("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = env.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = env.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = env.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.identity = Fields(cognito_identity_id=None, cognito_identity_pool_id=None)
        self.client_context = client_context(headers.get("Lambda-Runtime-Client-Context"))
        self._deadline_ms = int(headers["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self):
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def log(self, message):
        sys.stdout.write(str(message))


def client_context(text):
    if not text:
        return None
    given = json.loads(text)
    return Fields(custom=given.get("custom"), env=given.get("env"), client=Fields(**(given.get("client") or {})))


class LogHandler(logging.Handler):
    """Log records on standard output, in Lambda's format, with the id of the invocation they belong to."""

    request_id = ""

    def emit(self, record):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = self.format(record)
        sys.stdout.write(f"[{record.levelname}]\t{stamp}.{int(record.msecs):03d}Z\t{self.request_id}\t{text}\n")


def trace_lines(error):
    """The traceback as a list of strings, without this file's own frames."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    return traceback.format_list(frames)


def load_handler(name):
    module_name, dot, function_name = name.rpartition(".")
    if not dot or not module_name or not function_name:
        raise InitError("Runtime.MalformedHandlerName", f"Bad handler '{name}': not MODULE.FUNCTION")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        message = f"Unable to import module '{module_name}': {error}"
        raise InitError("Runtime.ImportModuleError", message) from error
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        message = f"Syntax error in module '{module_name}': {error}"
        raise InitError("Runtime.UserCodeSyntaxError", message, trace) from error
    handler = getattr(module, function_name, None)
    if handler is None:
        message = f"Handler '{function_name}' missing on module '{module_name}'"
        raise InitError("Runtime.HandlerNotFound", message)
    return handler


def error_body(error, request_id=None):
    if isinstance(error, InitError):
        body = {"errorMessage": str(error), "errorType": error.error_type, "stackTrace": error.trace}
    else:
        body = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": trace_lines(error)}
    if request_id:
        body["requestId"] = request_id
    print(f"[ERROR] {body['errorType']}: {body['errorMessage']}")
    if body["stackTrace"]:
        print("Traceback (most recent call last):\n" + "".join(body["stackTrace"]), end="")
    return body


class Runtime:
    """The loop's side of the Runtime API, over one connection that stays open."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address)

    def call(self, method, path, body=None, headers=None):
        self.connection.request(method, API + path, body, headers or {})
        response = self.connection.getresponse()
        return response, response.read()

    def next(self):
        response, body = self.call("GET", "/invocation/next")
        if response.status == 503:  # berth-fn is stopping this instance
            sys.exit(0)
        if response.status != 200:
            sys.exit(f"invocation/next: HTTP status {response.status}")
        return response.headers, body

    def post_error(self, path, body):
        sys.stdout.flush()
        text = json.dumps(body).encode()
        kind = {"Lambda-Runtime-Function-Error-Type": body["errorType"], "Content-Type": "application/json"}
        self.call("POST", path, text, kind)

    def post_response(self, request_id, body):
        sys.stdout.flush()
        path = f"/invocation/{request_id}/response"
        response, _ = self.call("POST", path, body, {"Content-Type": "application/json"})
        if response.status == 413:
            print(f"[ERROR] the response of {len(body)} bytes is too large")


def encode(result, request_id):
    """(response bytes, None) or (None, error body)"""
    try:
        return json.dumps(result, ensure_ascii=False).encode(), None
    except (TypeError, ValueError) as error:
        return None, error_body(InitError("Runtime.MarshalError", f"Unable to marshal response: {error}"), request_id)


def run_one(runtime, handler, log_handler):
    headers, body = runtime.next()
    request_id = headers["Lambda-Runtime-Aws-Request-Id"]
    log_handler.request_id = request_id
    os.environ["_X_AMZN_TRACE_ID"] = headers.get("Lambda-Runtime-Trace-Id", "")
    try:
        result = handler(json.loads(body), Context(headers))
    except Exception as error:  # whatever the function raised is its caller's to see
        failure = error_body(error, request_id)
    else:
        response, failure = encode(result, request_id)
    if failure:
        runtime.post_error(f"/invocation/{request_id}/error", failure)
    else:
        runtime.post_response(request_id, response)


def main():
    sys.stdout.reconfigure(line_buffering=True)
    root = os.environ["LAMBDA_TASK_ROOT"]
    sys.path[0:1] = [root] + [path for path in ("/opt/python",) if os.path.isdir(path)]
    log_handler = LogHandler()
    logging.getLogger().addHandler(log_handler)
    runtime = Runtime(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = load_handler(os.environ["_HANDLER"])
    except Exception as error:  # also what the module's own top level raised
        runtime.post_error("/init/error", error_body(error))
        sys.exit(1)
    while True:
        run_one(runtime, handler, log_handler)


if __name__ == "__main__":
    main()
