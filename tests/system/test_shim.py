# SPDX-License-Identifier: Apache-2.0
"""berth-fn through its own doors: callers over HTTP on one side, functions in their sandboxes on the other, and
MessageWall on a real mount. Statuses, headers and bodies are those that AWS documents for Lambda and its HTTP APIs."""
import base64
import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import harness

ANSWER_SECONDS = 40
ARN = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/"
REQUEST_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

CODE = r'''
import json, logging, os, subprocess, sys, time

count = 0

def echo(event, context):
    return event

def counted(event, context):
    global count
    count += 1
    return count

def said(event, context):
    print("printed first")
    subprocess.run(["echo", "from a child"])
    print("printed last", file=sys.stderr)
    logging.getLogger().warning("logged")
    sys.stdout.write("without end of line")

def much(event, context):
    for i in range(100000):
        print("line %06d" % i)

def fail(event, context):
    raise ValueError("no good")

def crash(event, context):
    os._exit(3)

def kill(event, context):
    os.kill(os.getpid(), 9)

def leave(event, context):
    sys.exit(0)

def nap(event, context):
    time.sleep(event["seconds"] if "seconds" in event else 3600)
    return "awake"

def big(event, context):
    return "x" * event["bytes"]

def unserialisable(event, context):
    return {1, 2}

def answer(event, context):
    return json.loads(event["body"])

def about(event, context):
    client = context.client_context
    return {"name": context.function_name, "version": context.function_version, "memory": context.memory_limit_in_mb,
            "arn": context.invoked_function_arn, "id": context.aws_request_id,
            "left": context.get_remaining_time_in_millis(), "custom": client and client.custom}

def attempt(action):
    try:
        return repr(action())
    except OSError as error:
        return type(error).__name__

def look(event, context):
    return {
        "root": sorted(os.listdir("/")), "etc": sorted(os.listdir("/etc")), "uid": os.getuid(), "cwd": os.getcwd(),
        "environment": dict(os.environ), "task": sorted(os.listdir("/var/task")), "opt": sorted(os.listdir("/opt")),
        "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")],
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "secret": attempt(lambda: open(event["secret"]).read()),
        "write code": attempt(lambda: open("/var/task/new", "w")),
        "write root": attempt(lambda: open("/new", "w")),
        "write usr": attempt(lambda: open("/usr/new", "w")),
        "write tmp": attempt(lambda: open("/tmp/new", "w").write("x")),
        "write core_pattern": attempt(lambda: os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)),
        "reopen stdout": attempt(lambda: open("/dev/stdout", "w").close()),
    }

def hoard(event, context):
    return len(bytearray(512 * 1024 * 1024))
'''

# A custom runtime: speaks the Runtime API by itself, tries what is wrong, and answers with the statuses it got.
BOOTSTRAP = r'''#!/usr/bin/python3
import http.client, json, os

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

def ask(method, path, body=None):
    api.request(method, path, body)
    answer = api.getresponse()
    return answer, answer.read()

def status(*words):
    return ask(*words)[0].status

NEXT = "/2018-06-01/runtime/invocation/next"
while True:
    got, event = ask("GET", NEXT)
    mine = "/2018-06-01/runtime/invocation/" + got.headers["Lambda-Runtime-Aws-Request-Id"]
    seen = {
        "headers": {k: v for k, v in got.headers.items() if k.startswith("Lambda-Runtime")},
        "event": json.loads(event),
        "wrong id": status("POST", "/2018-06-01/runtime/invocation/nobody/response", "1"),
        "no id": status("POST", "/2018-06-01/runtime/invocation//response", "1"),
        "unknown": status("GET", "/2018-06-01/runtime/what"),
        "other api": status("GET", "/2015-03-31/functions/"),
        "next when busy": status("GET", NEXT),
        "init error when busy": status("POST", "/2018-06-01/runtime/init/error", "{}"),
        "post to next": status("POST", NEXT, ""),
        "get response": status("GET", mine + "/response"),
        "ping": status("GET", "/ping"),
    }
    assert status("POST", mine + "/response", json.dumps(seen)) == 202
    assert status("POST", mine + "/response", "\"twice\"") == 400
'''


def require_bwrap():
    if not shutil.which("bwrap"):
        raise unittest.SkipTest("bwrap: not installed")
    probe = subprocess.run(["bwrap", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "/bin/true"],
                           capture_output=True, text=True, timeout=10)
    if probe.returncode != 0:
        raise unittest.SkipTest("bwrap: " + probe.stderr.strip())


def function(name, handler, **members):
    return {"FunctionName": name, "Runtime": "python3.11", "Handler": "app." + handler, "Code": {"Directory": "code"},
            **members}


class Shim:
    """A berth-fn with a configuration of its own. `functions`: a list for the file, or the path of a file."""

    def __init__(self, functions, *args, environment=None, directory=None, prefix=()):
        self.directory = directory or harness.new_directory("shim-")
        os.chmod(self.directory, 0o755)
        self.runtime_directory = os.path.join(self.directory, "run")
        os.mkdir(self.runtime_directory)
        os.chmod(self.runtime_directory, 0o777)
        config = functions if isinstance(functions, str) else self._write(functions)
        self.log_path = os.path.join(self.directory, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*prefix, harness.program("berth-fn"), "serve", "--config", config, "--listen", "127.0.0.1:0", *args],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env=dict(os.environ, XDG_RUNTIME_DIR=self.runtime_directory, **(environment or {})))
        ready, _, _ = select.select([self.process.stdout], [], [], harness.START_SECONDS)
        line = self.process.stdout.readline().decode() if ready else ""
        match = re.fullmatch(r"berth-fn ready http=(\S+)\n", line)
        if not match:
            self.kill()
            raise AssertionError("berth-fn did not start: %r\n%s" % (line, self.log()))
        self.address = match.group(1)

    def _write(self, functions):
        for name, text in (("code/app.py", CODE), ("boot/bootstrap", BOOTSTRAP), ("broken/app.py", "import nowhere\n"),
                           ("raising/app.py", "raise RuntimeError('at import')\n"), ("layer/python/layered.py", "")):
            path = os.path.join(self.directory, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(text)
        os.chmod(os.path.join(self.directory, "boot/bootstrap"), 0o755)
        config = os.path.join(self.directory, "functions.json")
        with open(config, "w") as f:
            json.dump(functions, f)
        return config

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def children(self):
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
            return f.read().split()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """A clean stop that leaves nothing: no file of the run, no mount."""
        if self.process.stdout.closed:
            return
        self.process.terminate()
        try:
            status = self.process.wait(harness.STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("berth-fn did not stop\n" + self.log())
        self.process.stdout.close()
        if status != 0 or os.listdir(self.runtime_directory):
            raise AssertionError("berth-fn ended with %d and left %s\n%s"
                                 % (status, os.listdir(self.runtime_directory), self.log()))
        with open("/proc/self/mountinfo") as f:
            if self.directory in f.read():
                raise AssertionError("a mount is left below " + self.directory)

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.address, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def http(self, name, method="GET", body=None, headers=None):
        return self.ask(method, "/default/" + name, body, headers)

    def invoke(self, name, event=None, **headers):
        body = json.dumps(event) if event is not None else None
        return self.ask("POST", "/2015-03-31/functions/%s/invocations" % name, body,
                        {k.replace("_", "-"): v for k, v in headers.items()})

    def result(self, name, event=None):
        answer, body = self.invoke(name, event)
        if answer.status != 200 or answer.headers["X-Amz-Function-Error"]:
            raise AssertionError("%d %s\n%s" % (answer.status, body, self.log()))
        return json.loads(body)


class WithShim(unittest.TestCase):
    FUNCTIONS = []
    ARGS = ()

    @classmethod
    def setUpClass(cls):
        require_bwrap()
        cls.shim = Shim(cls.FUNCTIONS, *cls.ARGS, environment={"HOST_SECRET": "of the host"})
        cls.addClassCleanup(cls.shim.stop)


class HttpApi(WithShim):
    FUNCTIONS = [function("Echo", "echo"), function("Fail", "fail"), function("Crash", "crash"),
                 function("Nap", "nap", Timeout=1), function("Answer", "answer"), function("Counted", "counted"),
                 function("None", "echo", ReservedConcurrentExecutions=0)]

    def event(self, *words, **named):
        answer, body = self.shim.ask(*words, **named)
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/json"), self.shim.log())
        return json.loads(body)

    def test_event(self):
        event = self.event("PUT", "/default/Echo/a/b%20c?x=1&y=%41&x=2", b"Hello",
                           headers={"Content-Type": "text/plain", "X-One": "1", "Cookie": "a=1; b=2"})
        self.assertEqual(event["version"], "2.0")
        self.assertEqual(event["rawPath"], "/default/Echo/a/b%20c")
        self.assertEqual(event["rawQueryString"], "x=1&y=%41&x=2")
        self.assertEqual(event["queryStringParameters"], {"x": "1,2", "y": "A"})
        self.assertEqual(event["pathParameters"], {"proxy": "a/b c"})
        self.assertEqual(event["cookies"], ["a=1", "b=2"])
        self.assertEqual(event["headers"]["x-one"], "1")
        self.assertEqual(event["headers"]["host"], self.shim.address)
        self.assertEqual((event["body"], event["isBase64Encoded"]), ("Hello", False))
        about = event["requestContext"]["http"]
        self.assertEqual((about["method"], about["path"], about["protocol"], about["sourceIp"]),
                         ("PUT", "/default/Echo/a/b%20c", "HTTP/1.1", "127.0.0.1"))
        self.assertRegex(event["requestContext"]["time"], r"^\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000$")

    def test_body_without_a_text_type_is_base64(self):
        event = self.event("POST", "/default/Echo", b"x=1",
                           headers={"Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual((event["body"], event["isBase64Encoded"]), (base64.b64encode(b"x=1").decode(), True))

    def test_no_body(self):
        self.assertNotIn("body", self.event("GET", "/default/Echo"))

    def test_chunked_body(self):
        event = self.event("POST", "/default/Echo", iter([b"one ", b"two"]), headers={"Content-Type": "text/plain"})
        self.assertEqual(event["body"], "one two")

    def test_answer_with_status(self):
        said = {"statusCode": 418, "headers": {"X-Made": "by me"}, "cookies": ["a=1", "b=2"], "body": "short"}
        answer, body = self.shim.http("Answer", "POST", json.dumps(said), {"Content-Type": "application/json"})
        self.assertEqual((answer.status, body, answer.headers["X-Made"]), (418, b"short", "by me"))
        self.assertEqual(answer.headers.get_all("Set-Cookie"), ["a=1", "b=2"])

    def test_answer_of_a_string_is_bare(self):
        answer, body = self.shim.http("Answer", "POST", '"Hello"', {"Content-Type": "application/json"})
        self.assertEqual((answer.status, answer.headers["Content-Type"], body), (200, "application/json", b"Hello"))

    def test_bad_answers(self):
        for said in ('{"statusCode": "what"}', '{"statusCode": 200, "body": {}}',
                     '{"statusCode": 200, "headers": {"a\\r\\nb": "c"}}'):
            with self.subTest(said):
                answer, _ = self.shim.http("Answer", "POST", said, {"Content-Type": "application/json"})
                self.assertEqual(answer.status, 500)

    def test_errors(self):
        for name, status, message in (("Fail", 500, "Internal Server Error"), ("Crash", 500, "Internal Server Error"),
                                      ("Nap", 503, "Service Unavailable"), ("None", 503, "Service Unavailable"),
                                      ("Nobody", 404, "Not Found")):
            with self.subTest(name):
                answer, body = self.shim.http(name)
                self.assertEqual((answer.status, json.loads(body)), (status, {"message": message}))

    def test_other_paths(self):
        for path in ("/", "/default", "/default/", "/default/Echo2", "/other"):
            with self.subTest(path):
                answer, body = self.shim.ask("GET", path)
                self.assertEqual((answer.status, json.loads(body)), (404, {"message": "Not Found"}))

    def test_body_too_large(self):
        answer, _ = self.shim.http("Echo", "POST", b"x" * (6 * 1024 * 1024 + 1), {"Content-Type": "text/plain"})
        self.assertEqual(answer.status, 413)

    def test_an_instance_stays_warm(self):
        answers = [int(self.shim.http("Counted")[1]) for _ in range(5)]
        self.assertEqual(answers, list(range(answers[0], answers[0] + 5)))

    def test_keep_alive(self):
        connection = http.client.HTTPConnection(self.shim.address, timeout=ANSWER_SECONDS)
        self.addCleanup(connection.close)
        for _ in range(3):
            connection.request("GET", "/default/Echo")
            self.assertEqual(connection.getresponse().read()[:1], b"{")

    def test_malformed_requests_harm_nobody(self):
        for text in (b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"GET /default/Echo HTTP/1.1\r\nContent-Length: x\r\n\r\n",
                     b"POST /default/Echo HTTP/1.1\r\nContent-Length: 99\r\n\r\nshort", b"GET " + b"/" * 100000):
            with self.subTest(text[:40]):
                with socket.create_connection(self.shim.address.split(":"), timeout=ANSWER_SECONDS) as s:
                    with contextlib.suppress(ConnectionError):  # cut off before all was sent
                        s.sendall(text)
                self.assertEqual(self.shim.http("Echo")[0].status, 200)


class InvokeApi(WithShim):
    FUNCTIONS = [function("Echo", "echo"), function("About", "about", MemorySize=256, Timeout=7), function("Fail", "fail"),
                 function("Crash", "crash"), function("Kill", "kill"), function("Leave", "leave"),
                 function("Nap", "nap", Timeout=1), function("Said", "said"), function("Much", "much", Timeout=20),
                 function("Big", "big", MemorySize=512), function("Set", "unserialisable"),
                 function("Counted", "counted", ReservedConcurrentExecutions=1),
                 function("NoModule", "echo", Code={"Directory": "broken"}),
                 function("Raising", "echo", Code={"Directory": "raising"}), function("NoHandler", "nobody"),
                 function("None", "echo", ReservedConcurrentExecutions=0), function("Hoard", "hoard"),
                 {"FunctionName": "Custom", "Runtime": "provided.al2023", "Code": {"Directory": "boot"}}]

    def assert_function_error(self, name, error_type, message):
        answer, body = self.shim.invoke(name, {})
        self.assertEqual((answer.status, answer.headers["X-Amz-Function-Error"]), (200, "Unhandled"), body)
        error = json.loads(body)
        self.assertEqual(error["errorType"], error_type)
        self.assertRegex(error["errorMessage"], "^%s$" % message)
        return error

    def assert_refused(self, answer_and_body, status, name):
        answer, body = answer_and_body
        self.assertEqual((answer.status, answer.headers["x-amzn-ErrorType"]), (status, name), body)
        self.assertEqual(set(json.loads(body)), {"Type", "Message"})

    def test_payload_goes_and_comes(self):
        answer, body = self.shim.invoke("Echo", {"a": ["ü", 1, None]})
        self.assertEqual((answer.status, json.loads(body)), (200, {"a": ["ü", 1, None]}))
        self.assertEqual(answer.headers["X-Amz-Executed-Version"], "$LATEST")
        self.assertRegex(answer.headers["X-Amzn-RequestId"], "^%s$" % REQUEST_ID)
        self.assertIsNone(answer.headers["X-Amz-Function-Error"])
        self.assertIsNone(answer.headers["X-Amz-Log-Result"])

    def test_no_payload_is_an_empty_object(self):
        self.assertEqual(self.shim.result("Echo"), {})

    def test_names(self):
        arn = "arn:aws:lambda:us-east-1:000000000000:function:Echo"
        for name in ("Echo:$LATEST", "000000000000:function:Echo", arn, arn + ":$LATEST", arn.replace(":", "%3A")):
            with self.subTest(name):
                self.assertEqual(self.shim.result(name, 7), 7)
        self.assertEqual(self.shim.ask("POST", "/2015-03-31/functions/Echo/invocations?Qualifier=%24LATEST")[0].status, 200)
        for name in ("Nobody", "Echo:1", arn + ":1", "x" * 600, "%00"):
            with self.subTest(name):
                self.assertIn(self.shim.invoke(name, {})[0].status, (400, 404))
        self.assert_refused(self.shim.invoke("Nobody", {}), 404, "ResourceNotFoundException")

    def test_context(self):
        context = base64.b64encode(b'{"custom": {"k": "v"}}').decode()
        answer, body = self.shim.invoke("About", {}, X_Amz_Client_Context=context)
        about = json.loads(body)
        self.assertTrue(0 < about.pop("left") <= 7000)
        self.assertEqual(about.pop("id"), answer.headers["X-Amzn-RequestId"])
        self.assertEqual(about, {"name": "About", "version": "$LATEST", "memory": "256", "custom": {"k": "v"},
                                 "arn": "arn:aws:lambda:us-east-1:000000000000:function:About"})

    def test_handler_error(self):
        error = self.assert_function_error("Fail", "ValueError", "no good")
        self.assertEqual(len(error["stackTrace"]), 1)
        self.assertIn('File "/var/task/app.py"', error["stackTrace"][0])

    def test_ends_of_a_runtime(self):
        of = "RequestId: %s Error: " % REQUEST_ID
        self.assert_function_error("Crash", "Runtime.ExitError", of + "Runtime exited with error: exit status 3")
        self.assert_function_error("Kill", "Runtime.ExitError", of + "Runtime exited with error: signal: killed")
        self.assert_function_error("Leave", "Runtime.ExitError", of + "Runtime exited without providing a reason")

    def test_timeout(self):
        self.assert_function_error("Nap", "Sandbox.Timedout", "RequestId: %s Error: Task timed out after 1.00 seconds"
                                   % REQUEST_ID)
        self.assertEqual(self.shim.result("Nap", {"seconds": 0}), "awake")

    def test_init_errors(self):
        self.assert_function_error("NoModule", "Runtime.ImportModuleError", "Unable to import module 'app': .*nowhere.*")
        self.assert_function_error("Raising", "RuntimeError", "at import")
        self.assert_function_error("NoHandler", "Runtime.HandlerNotFound", "Handler 'nobody' missing on module 'app'")

    def test_result_that_is_no_json(self):
        self.assert_function_error("Set", "Runtime.MarshalError", "Unable to marshal response: .*")

    def test_log_tail(self):
        answer, _ = self.shim.invoke("Said", {}, X_Amz_Log_Type="Tail")
        lines = base64.b64decode(answer.headers["X-Amz-Log-Result"]).decode().splitlines()
        request = answer.headers["X-Amzn-RequestId"]
        self.assertEqual(lines[:4], ["START RequestId: %s Version: $LATEST" % request, "printed first", "from a child",
                                     "printed last"])
        self.assertRegex(lines[4], r"^\[WARNING\]\t\S+Z\t%s\tlogged$" % request)
        self.assertIn("without end of line", lines[5])
        self.assertRegex(lines[-1], r"^REPORT RequestId: %s\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\t"
                         r"Memory Size: 128 MB\tInit Duration: [\d.]+ ms$" % request)

    def test_log_tail_is_bounded(self):
        answer, _ = self.shim.invoke("Much", {}, X_Amz_Log_Type="Tail")
        tail = base64.b64decode(answer.headers["X-Amz-Log-Result"])
        self.assertEqual(len(tail), 4096)
        self.assertIn(b"line 099999\n", tail)
        self.assertEqual(len(re.findall(r"^Much\[1\] line \d{6}$", self.shim.log(), re.MULTILINE)), 100000)

    def test_event_invocation(self):
        before = self.shim.result("Counted")
        answer, body = self.shim.invoke("Counted", {}, X_Amz_Invocation_Type="Event")
        self.assertEqual((answer.status, body), (202, b""))
        self.assertEqual(self.shim.result("Counted"), before + 2)

    def test_dry_run(self):
        before = self.shim.result("Counted")
        answer, body = self.shim.invoke("Counted", {}, X_Amz_Invocation_Type="DryRun")
        self.assertEqual((answer.status, body), (204, b""))
        self.assertEqual(self.shim.result("Counted"), before + 1)

    def test_refusals(self):
        self.assert_refused(self.shim.invoke("None", {}), 429, "TooManyRequestsException")
        self.assert_refused(self.shim.invoke("Echo", {}, X_Amz_Invocation_Type="What"), 400,
                            "InvalidParameterValueException")
        self.assert_refused(self.shim.invoke("Echo", {}, X_Amz_Client_Context="%%%"), 400,
                            "InvalidRequestContentException")
        path = "/2015-03-31/functions/Echo/invocations"
        self.assert_refused(self.shim.ask("POST", path, "{"), 400, "InvalidRequestContentException")
        self.assert_refused(self.shim.ask("GET", path), 405, "MethodNotAllowedException")
        self.assert_refused(self.shim.ask("GET", "/2015-03-31/functions/"), 404, "ResourceNotFoundException")

    def test_payload_limits(self):
        most = 6 * 1024 * 1024
        path = "/2015-03-31/functions/Echo/invocations"
        largest = b'"' + b"x" * (most - 2) + b'"'
        self.assertEqual(self.shim.ask("POST", path, largest)[1], largest)
        self.assert_refused(self.shim.ask("POST", path, largest + b" "), 413, "RequestTooLargeException")
        self.assert_refused(self.shim.ask("POST", path, b'"' + b"x" * 1024 * 1024 + b'"',
                                          {"X-Amz-Invocation-Type": "Event"}), 413, "RequestTooLargeException")

    def test_response_limit(self):
        self.assertEqual(len(self.shim.result("Big", {"bytes": 6 * 1024 * 1024 - 2})), 6 * 1024 * 1024 - 2)
        answer, body = self.shim.invoke("Big", {"bytes": 7 * 1024 * 1024})
        self.assertEqual((answer.status, answer.headers["X-Amz-Function-Error"]), (200, "Unhandled"))
        self.assertEqual(json.loads(body)["errorType"], "Function.ResponseSizeTooLarge")
        self.assertEqual(len(self.shim.result("Big", {"bytes": 10})), 10)

    def test_memory_size_bounds_a_python_function(self):
        self.assert_function_error("Hoard", "MemoryError", ".*")

    def test_custom_runtime(self):
        for n in (1, 2):
            seen = self.shim.result("Custom", {"n": n})
            headers = seen.pop("headers")
            self.assertEqual(seen, {"event": {"n": n}, "wrong id": 400, "no id": 404, "unknown": 404, "other api": 404,
                                    "next when busy": 403, "init error when busy": 403, "post to next": 405,
                                    "get response": 405, "ping": 200})
            self.assertRegex(headers["Lambda-Runtime-Aws-Request-Id"], "^%s$" % REQUEST_ID)
            self.assertRegex(headers["Lambda-Runtime-Deadline-Ms"], r"^\d{13}$")
            self.assertEqual(headers["Lambda-Runtime-Invoked-Function-Arn"],
                             "arn:aws:lambda:us-east-1:000000000000:function:Custom")
            self.assertIn("Root=1-", headers["Lambda-Runtime-Trace-Id"])

    def test_boto3(self):
        try:
            import boto3
        except ImportError:
            self.skipTest("boto3: not installed")
        client = boto3.client("lambda", endpoint_url="http://" + self.shim.address, region_name="us-east-1",
                              aws_access_key_id="any", aws_secret_access_key="any")
        answer = client.invoke(FunctionName="arn:aws:lambda:us-east-1:000000000000:function:Echo", Payload=b"[1]",
                               LogType="Tail")
        self.assertEqual((answer["StatusCode"], answer["Payload"].read()), (200, b"[1]"))
        self.assertIn(b"START RequestId", base64.b64decode(answer["LogResult"]))
        self.assertEqual(client.invoke(FunctionName="Fail")["FunctionError"], "Unhandled")
        with self.assertRaises(client.exceptions.ResourceNotFoundException):
            client.invoke(FunctionName="Nobody")
        with self.assertRaises(client.exceptions.TooManyRequestsException):
            client.invoke(FunctionName="None")
        client.close()


class Sandbox(WithShim):
    FUNCTIONS = [function("Look", "look", Environment={"Variables": {"MINE": "value", "TZ": "UTC"}}, Layers=["layer"])]

    def test_what_a_function_sees(self):
        secret = os.path.join(self.shim.directory, "secret")
        with open(secret, "w") as f:
            f.write("of the host")
        os.chmod(secret, 0o644)
        seen = self.shim.result("Look", {"secret": secret})
        self.assertEqual(seen["secret"], "FileNotFoundError")
        self.assertLessEqual(set(seen["root"]), {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "mnt", "opt",
                                                 "proc", "sbin", "tmp", "usr", "var"})
        self.assertLessEqual(set(seen["etc"]), {"alternatives", "group", "hosts", "ld.so.cache", "nsswitch.conf", "passwd",
                                                "pki", "resolv.conf", "ssl"})
        self.assertEqual((seen["task"], seen["opt"], seen["cwd"]), (["app.py"], ["python"], "/var/task"))
        self.assertEqual(set(seen["capabilities"]), {"0000000000000000"})
        self.assertLessEqual(seen["processes"], 2)
        self.assertNotEqual(seen["uid"], 0)
        for what in ("write code", "write root", "write usr"):
            self.assertIn(seen[what], ("OSError", "PermissionError"), what)
        self.assertEqual(seen["write core_pattern"], "PermissionError")
        self.assertEqual((seen["write tmp"], seen["reopen stdout"]), ("1", "None"))
        environment = seen["environment"]
        self.assertNotIn("HOST_SECRET", environment)
        self.assertEqual((environment["MINE"], environment["TZ"]), ("value", "UTC"))
        self.assertEqual((environment["_HANDLER"], environment["LAMBDA_TASK_ROOT"], environment["LAMBDA_RUNTIME_DIR"],
                          environment["AWS_LAMBDA_FUNCTION_NAME"], environment["AWS_LAMBDA_FUNCTION_VERSION"],
                          environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]),
                         ("app.look", "/var/task", "/var/runtime", "Look", "$LATEST", "128"))
        self.assertRegex(environment["AWS_LAMBDA_RUNTIME_API"], r"^127\.0\.0\.1:\d+$")
        self.assert_closed_to_others(environment["AWS_LAMBDA_RUNTIME_API"])

    def assert_closed_to_others(self, runtime_api):
        """Who is not in the sandbox gets no events of it, and its function goes on."""
        connection = http.client.HTTPConnection(runtime_api, timeout=10)
        self.addCleanup(connection.close)
        for method, path in (("GET", "next"), ("POST", "some-id/response")):
            connection.request(method, "/2018-06-01/runtime/invocation/" + path)
            answer = connection.getresponse()
            self.assertEqual((answer.status, json.loads(answer.read())["errorType"]), (403, "AccessDenied"))
        self.assertEqual(self.shim.result("Look", {"secret": "/nowhere"})["secret"], "FileNotFoundError")

    def test_an_ordinary_user_has_sandboxes_too(self):
        harness.require_root()
        become = ["setpriv", "--reuid", "4321", "--regid", "4321", "--clear-groups"]
        directory = tempfile.mkdtemp(prefix="berth-shim-", dir="/tmp")
        self.addCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o755)
        if subprocess.run([*become, "test", "-x", harness.program("berth-fn")], timeout=10).returncode != 0:
            self.skipTest("user: an ordinary user cannot reach " + harness.program("berth-fn"))
        shim = Shim(self.FUNCTIONS, directory=directory, prefix=become)
        self.addCleanup(shim.stop)
        seen = shim.result("Look", {"secret": "/etc/shadow"})
        self.assertEqual((seen["uid"], seen["secret"]), (4321, "FileNotFoundError"))
        self.assertEqual(set(seen["capabilities"]), {"0000000000000000"})
        self.assertEqual(seen["write core_pattern"], "PermissionError")


class Instances(unittest.TestCase):
    def start(self, functions, *args):
        require_bwrap()
        shim = Shim(functions, *args)
        self.addCleanup(shim.stop)
        return shim

    def at_once(self, shim, calls):
        with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
            return [f.result() for f in [pool.submit(shim.invoke, *call) for call in calls]]

    def test_as_many_as_allowed_and_the_rest_wait(self):
        shim = self.start([function("Nap", "nap", Timeout=20)], "--max-instances", "3")
        answers = self.at_once(shim, [("Nap", {"seconds": 0.2})] * 9)
        self.assertEqual([body for _, body in answers], [b'"awake"'] * 9)
        self.assertEqual(len(set(re.findall(r"^Nap\[(\d+)\] START", shim.log(), re.MULTILINE))), 3)

    def test_who_waits_longer_than_the_timeout_is_throttled(self):
        shim = self.start([function("Nap", "nap", Timeout=2, ReservedConcurrentExecutions=1)])
        self.assertEqual(shim.result("Nap", {"seconds": 0}), "awake")
        statuses = sorted(answer.status for answer, _ in self.at_once(shim, [("Nap", {"seconds": 1.5})] * 3))
        self.assertEqual(statuses, [200, 200, 429])

    def test_idle_instances_go(self):
        shim = self.start([function("Counted", "counted")], "--idle-seconds", "1")
        self.assertEqual(shim.result("Counted"), 1)
        self.assertEqual(len(shim.children()), 1)
        harness.wait_for(lambda: not shim.children(), 20)
        self.assertEqual(shim.result("Counted"), 1)

    def test_stop_answers_who_waits(self):
        shim = self.start([function("Nap", "nap", Timeout=60)])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(shim.http, "Nap")
            harness.wait_for(lambda: "START RequestId" in shim.log(), 20)
            children = shim.children()
            self.assertEqual(len(children), 1)
            shim.stop()
            self.assertEqual(asked.result()[0].status, 500)
        self.assertFalse(os.path.exists("/proc/" + children[0]))

    def test_interrupt_stops_as_well(self):
        shim = self.start([function("Echo", "echo")])
        shim.result("Echo")
        shim.process.send_signal(signal.SIGINT)
        self.assertEqual(shim.process.wait(harness.STOP_SECONDS), 0)
        self.assertEqual(os.listdir(shim.runtime_directory), [])


class WithoutSandbox(unittest.TestCase):
    def test_functions_run_and_say_so(self):
        shim = Shim([function("Counted", "counted"), function("Fail", "fail"), function("Nap", "nap", Timeout=1)],
                    "--sandbox", "none")
        self.addCleanup(shim.stop)
        self.assertEqual([shim.result("Counted"), shim.result("Counted")], [1, 2])
        self.assertEqual(shim.invoke("Fail", {})[0].headers["X-Amz-Function-Error"], "Unhandled")
        self.assertIn(b"Task timed out", shim.invoke("Nap", {})[1])
        self.assertIn("no-sandbox", shim.log())

    def test_a_file_system_needs_a_mount_at_its_path(self):
        config = [{"Arn": ARN + "fsap-" + "0" * 17, "LocalMountPath": "/mnt/berth-no-such-mount"}]
        with self.assertRaisesRegex(AssertionError, "did not start.*\n.*LocalMount|is not a mount"):
            Shim([function("Echo", "echo", FileSystemConfigs=config)], "--sandbox", "none")


class MessageWall(unittest.TestCase):
    SESSION = [("GET", None, "No message yet."),
               ("POST", "Hello from EFS!", "Hello from EFS!\n"),
               ("POST", "Hello again :)", "Hello from EFS!\nHello again :)\n"),
               ("GET", None, "Hello from EFS!\nHello again :)\n"),
               ("DELETE", None, "Messages deleted."),
               ("GET", None, "No message yet."),
               ("PATCH", None, "Method unsupported.")]

    def setUp(self):
        harness.require_root()
        harness.require_fuse()
        require_bwrap()

    def wall(self, server, access_point, *args):
        """berth-fn with the sample, its access point put in place of the template's."""
        directory = os.path.join(harness.new_directory("wall-"), "messagewall")
        shutil.copytree(os.path.join(harness.ROOT, "docker/messagewall"), directory)
        config = os.path.join(directory, "functions.json")
        with open(config) as f:
            text = re.sub("fsap-[0-9a-f]*", access_point, f.read())
        with open(config, "w") as f:
            f.write(text)
        shim = Shim(config, "--server", server, *args)
        self.addCleanup(shim.stop)
        return shim

    def with_server(self):
        server = harness.Server()
        self.addCleanup(server.stop)
        access_point = server.ap_create(server.fs_create(), "--path", "/msg", "--uid", "1000", "--gid", "1000", "--owner",
                                        "1000:1000", "--perm", "0755")
        return server, access_point

    def assert_mount_error(self, shim, status, name, message):
        answer, body = shim.invoke("MessageWall", {})
        self.assertEqual((answer.status, answer.headers["x-amzn-ErrorType"]), (status, name), shim.log())
        self.assertEqual(json.loads(body), {"Type": "User", "Message": message})
        self.assertEqual(shim.http("MessageWall")[0].status, 500)

    def test_session(self):
        server, access_point = self.with_server()
        shim = self.wall(server.data_address, access_point)
        for method, body, expected in self.SESSION:
            answer, text = shim.http("MessageWall", method, body, {"Content-Type": "text/plain"})
            self.assertEqual((answer.status, text.decode()), (200, expected), shim.log())
        shim.stop()

    def test_over_the_unix_socket(self):
        server, access_point = self.with_server()
        shim = self.wall("unix:" + os.path.join(server.directory, "data.sock"), access_point)
        self.assertEqual(shim.http("MessageWall")[1], b"No message yet.")

    def test_what_is_written_belongs_to_the_access_points_user(self):
        server, access_point = self.with_server()
        shim = self.wall(server.data_address, access_point)
        shim.http("MessageWall", "POST", "x", {"Content-Type": "text/plain"})
        mount = harness.Mount(server, access_point)
        self.addCleanup(mount.unmount)
        made = os.stat(os.path.join(mount.path, "content"))
        self.assertEqual((made.st_uid, made.st_gid, made.st_size), (1000, 1000, 2))

    def test_instances_over_several_mounts_lose_nothing(self):
        server, access_point = self.with_server()
        shim = self.wall(server.data_address, access_point, "--mounts", "2", "--max-instances", "4")
        messages = ["message %03d" % i for i in range(100)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda m: shim.http("MessageWall", "POST", m, {"Content-Type": "text/plain"}), messages))
        self.assertEqual({answer.status for answer, _ in answers}, {200}, shim.log())
        self.assertEqual(sorted(shim.http("MessageWall")[1].decode().splitlines()), messages)
        self.assertEqual(shim.log().count("mount-up"), 2)

    def test_post_without_body_is_a_function_error(self):
        server, access_point = self.with_server()
        shim = self.wall(server.data_address, access_point)
        self.assertEqual(shim.http("MessageWall", "POST")[0].status, 500)

    def test_unknown_access_point(self):
        server, _ = self.with_server()
        unknown = "fsap-" + "0" * 17
        shim = self.wall(server.data_address, unknown)
        self.assert_mount_error(shim, 403, "EFSMountFailureException",
                                "The function could not mount the EFS file system with access point %s." % (ARN + unknown))

    def test_no_server_then_one(self):
        server, access_point = self.with_server()
        server.stop()
        shim = self.wall(server.data_address, access_point)
        self.assert_mount_error(shim, 408, "EFSMountConnectivityException",
                                "The function couldn't connect to the Amazon EFS file system with access point %s. Check "
                                "your network configuration and try again." % (ARN + access_point))
        server.start()
        self.assertEqual(shim.http("MessageWall")[1], b"No message yet.", shim.log())

    def test_a_mount_that_died_is_made_again(self):
        server, access_point = self.with_server()
        shim = self.wall(server.data_address, access_point)
        self.assertEqual(shim.http("MessageWall")[1], b"No message yet.")
        for pid in shim.children():
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                if b"\0mount\0" in f.read():
                    os.kill(int(pid), signal.SIGKILL)
        harness.wait_for(lambda: "mount-down" in shim.log(), 20)
        shim.http("MessageWall", "POST", "again", {"Content-Type": "text/plain"})
        self.assertEqual(shim.http("MessageWall")[1], b"again\n", shim.log())


if __name__ == "__main__":
    unittest.main()
