-- Reads the model of a request's JSON body: sets txn.model to it, or txn.problem to "missing" or "unreadable".
-- The body must be one JSON object; of two fields "model" the last counts, as in the engines.

local MOST_LEVELS = 500
local LONGEST_NAME = 1024
local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local skip_value

local function unreadable()
    error("unreadable", 0)
end

-- Index of the next character that is no white space.
local function solid(text, at)
    return string.find(text, "[^ \t\r\n]", at) or unreadable()
end

-- at is the opening quote; returns the index of the closing one.
local function string_end(text, at)
    at = at + 1
    while true do
        at = string.find(text, '["\\\0-\31]', at) or unreadable()
        local found = string.byte(text, at)
        if found == 34 then
            return at
        elseif found ~= 92 then
            unreadable()
        elseif string.find(text, '^["\\/bfnrt]', at + 1) then
            at = at + 2
        elseif string.find(text, "^u%x%x%x%x", at + 1) then
            at = at + 6
        else
            unreadable()
        end
    end
end

local function hexadecimal(digits)
    return tonumber(digits, 16)
end

-- The text between two quotes without its escapes; pairs of surrogates are one character.
local function plain(text)
    if not string.find(text, "\\", 1, true) then
        return text
    end
    local parts, at = {}, 1
    while at <= #text do
        local escape = string.find(text, "\\", at, true)
        parts[#parts + 1] = string.sub(text, at, (escape or 0) - 1)
        if not escape then
            break
        end
        local kind = string.sub(text, escape + 1, escape + 1)
        at = escape + 2
        if kind ~= "u" then
            parts[#parts + 1] = ESCAPES[kind]
        else
            local code = hexadecimal(string.sub(text, at, at + 3))
            at = at + 4
            local low = code >= 0xD800 and code < 0xDC00 and string.match(text, "^\\u([dD][c-fC-F]%x%x)", at)
            if low then
                code = 0x10000 + (code - 0xD800) * 0x400 + hexadecimal(low) - 0xDC00
                at = at + 6
            end
            parts[#parts + 1] = utf8.char(code)
        end
    end
    return table.concat(parts)
end

local function skip_array(text, at, level)
    at = solid(text, at + 1)
    if string.byte(text, at) == 93 then
        return at + 1
    end
    while true do
        at = solid(text, skip_value(text, at, level))
        local found = string.byte(text, at)
        if found == 93 then
            return at + 1
        elseif found ~= 44 then
            unreadable()
        end
        at = solid(text, at + 1)
    end
end

-- on_field(key, start, stop) is called for each field, with the place of its value.
local function skip_object(text, at, level, on_field)
    at = solid(text, at + 1)
    if string.byte(text, at) == 125 then
        return at + 1
    end
    while true do
        if string.byte(text, at) ~= 34 then
            unreadable()
        end
        local key_end = string_end(text, at)
        local colon = solid(text, key_end + 1)
        if string.byte(text, colon) ~= 58 then
            unreadable()
        end
        local start = solid(text, colon + 1)
        local stop = skip_value(text, start, level)
        if on_field then
            on_field(plain(string.sub(text, at + 1, key_end - 1)), start, stop - 1)
        end
        at = solid(text, stop)
        local found = string.byte(text, at)
        if found == 125 then
            return at + 1
        elseif found ~= 44 then
            unreadable()
        end
        at = solid(text, at + 1)
    end
end

-- Index behind the value that begins at `at`.
function skip_value(text, at, level)
    if level > MOST_LEVELS then
        unreadable()
    end
    local found = string.byte(text, at)
    if found == 34 then
        return string_end(text, at) + 1
    elseif found == 123 then
        return skip_object(text, at, level + 1, nil)
    elseif found == 91 then
        return skip_array(text, at, level + 1)
    end
    local _, stop = string.find(text, "^[%w+.-]+", at)
    local word = string.sub(text, at, stop or at)
    local number = string.find(word, "^-?%d") and tonumber(word) and not string.find(word, "[xX]")
    if not (number or word == "true" or word == "false" or word == "null") then
        unreadable()
    end
    return stop + 1
end

local function read(text)
    local at = string.find(text, "[^ \t\r\n]")
    if not at or string.byte(text, at) ~= 123 then
        unreadable()
    end
    local start, stop
    local rest = skip_object(text, at, 1, function(key, first, last)
        if key == "model" then
            start, stop = first, last
        end
    end)
    if string.find(text, "[^ \t\r\n]", rest) then
        unreadable()
    end
    if not start or string.sub(text, start, stop) == "null" then
        return nil
    end
    if string.byte(text, start) ~= 34 or stop - start > 6 * LONGEST_NAME then
        unreadable()
    end
    return plain(string.sub(text, start + 1, stop - 1))
end

core.register_action("read_model", { "http-req" }, function(txn)
    local readable, model = pcall(read, txn.sf:req_body())
    if not readable then
        txn:set_var("txn.problem", "unreadable")
    elseif model == nil then
        txn:set_var("txn.problem", "missing")
    else
        txn:set_var("txn.model", model)
    end
end)
