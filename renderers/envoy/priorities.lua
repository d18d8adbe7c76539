function envoy_on_request(request)
  local priorities = request:metadata():get("priorities")
  if not priorities then
    return
  end
  local priority = priorities[request:headers():get("WORKLOAD_HEADER") or ""] or priorities[""]
  local body = request:body()
  if not body then
    return
  end
  local text = body:getBytes(0, body:length())
  local last = string.find(text, "}[ \t\r\n]*$")
  if not last then
    return
  end
  local said = string.format(', "priority": %d', priority)
  local length = body:setBytes(string.sub(text, 1, last - 1) .. said .. string.sub(text, last))
  request:headers():replace("content-length", tostring(length))
end
