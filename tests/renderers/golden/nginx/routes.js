// Reads the model of a request's JSON body and sends the request to the upstream of that name, or answers itself.

// A colon stands before each name: no name is then one that every object has. An empty upstream: no replica serves it now.
const UPSTREAMS = {
    ":llama-8b": "model_e72766aa09ca06fe",
    ":mistral-7b": "model_aa38360aae514073",
    ":qwen3-8b": "model_f9b30c0d4656c565",
};

const MODELS = "{\"object\": \"list\", \"data\": [{\"id\": \"llama-8b\", \"object\": \"model\", \"created\": 0, \"owned_by\": \"ullage\"}, {\"id\": \"mistral-7b\", \"object\": \"model\", \"created\": 0, \"owned_by\": \"ullage\"}, {\"id\": \"qwen3-8b\", \"object\": \"model\", \"created\": 0, \"owned_by\": \"ullage\"}]}";
const UNKNOWN_MODEL = {"error": {"message": "The model named in the request does not exist here; GET /v1/models lists those that do.", "type": "NotFoundError", "param": "model", "code": 404}};
const MODEL_MISSING = {"error": {"message": "The request body has no 'model'.", "type": "BadRequestError", "param": "model", "code": 400}};
const UNREADABLE_BODY = {"error": {"message": "The request body is not a JSON object that can be read, or its field 'model' is no short text.", "type": "BadRequestError", "param": null, "code": 400}};
const NO_JSON_BODY = {"error": {"message": "The request needs a JSON body with the field 'model' and the header 'content-type: application/json'.", "type": "BadRequestError", "param": null, "code": 400}};
const UNKNOWN_PATH = {"error": {"message": "No such path; this router serves /v1/... of OpenAI's API, /v1/models and /health.", "type": "NotFoundError", "param": null, "code": 404}};
const NO_ENGINE = {"error": {"message": "No engine could answer; try again.", "type": "ServiceUnavailableError", "param": null, "code": 503}};

const JSON_TYPE = /^application\/([^;]+\+)?json\s*(;.*)?$/i;
// Dots, slashes, backslashes and NUL in escapes, steps of dots, backslashes.
const LEADS_OUT = /%(00|2e|2f|5c)|\\|\/\.\.?(\/|$)/i;
const LONGEST_NAME = 1024;

function say(r, body, status) {
    r.headersOut["Content-Type"] = "application/json";
    if (status === 503) {
        r.headersOut["Retry-After"] = "10";
    }
    r.return(status, body);
}

function refuse(r, refusal) {
    say(r, JSON.stringify(refusal), refusal.error.code);
}

function answer(r) {
    const raw = r.variables.request_uri;
    const mark = raw.indexOf("?");
    const path = (mark < 0 ? raw : raw.slice(0, mark)).replace(/^https?:\/\/[^\/]*/i, "").replace(/\/\/+/g, "/");
    if (r.method === "GET" && path === "/v1/models") {
        say(r, MODELS, 200);
        return;
    }
    if (r.method === "GET" && path === "/health") {
        r.return(200);
        return;
    }
    const json = JSON_TYPE.test(r.headersIn["Content-Type"] || "");
    // Only paths under /v1/ reach engines, which have an admin surface.
    if (!path.startsWith("/v1/") || LEADS_OUT.test(path) || (!json && r.method !== "POST")) {
        refuse(r, UNKNOWN_PATH);
        return;
    }
    if (!json) {
        refuse(r, NO_JSON_BODY);
        return;
    }
    route(r, path + (mark < 0 ? "" : raw.slice(mark)));
}

function route(r, path) {
    let body;
    try {
        body = JSON.parse(r.requestText || "");
    } catch (error) {
        refuse(r, UNREADABLE_BODY);
        return;
    }
    if (body === null || typeof body !== "object" || Array.isArray(body)) {
        refuse(r, UNREADABLE_BODY);
        return;
    }
    const model = body.model;
    if (model === undefined || model === null) {
        refuse(r, MODEL_MISSING);
        return;
    }
    if (typeof model !== "string" || model.length > LONGEST_NAME) {
        refuse(r, UNREADABLE_BODY);
        return;
    }
    const upstream = UPSTREAMS[":" + model];
    if (upstream === undefined) {
        refuse(r, UNKNOWN_MODEL);
        return;
    }
    r.variables.model = model;
    if (upstream === "") {
        refuse(r, NO_ENGINE);
        return;
    }
    r.variables.engine = upstream;
    r.variables.engine_path = path;
    r.internalRedirect("@engine");
}

export default { answer };
