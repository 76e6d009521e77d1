-- What the command asks of the system, and how it is refused: csrc/binding/cli.c and page.c.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local core = require "cfpurge.core"
local host = require "spec.support.host"
local peer = require "spec.support.peer"

describe("the command's", function()
  local dir = host.dir() .. "/system"
  setup(function() host.must(("mkdir -p %s/folder && cd %s && echo old >file && chmod 640 file && ln -s gone nowhere"):format(
    dir, dir)) end)
  teardown(peer.stop)

  local function problem(...)
    local first, said = ...
    assert.is_nil(first)
    return said
  end

  it("new file is refused where there can be none", function()
    assert.equal("Is a directory", problem(core.create_beside(dir .. "/folder")))
    assert.equal("No such file or directory", problem(core.create_beside(dir .. "/gone/file")))
    assert.equal("Not a directory", problem(core.create_beside(dir .. "/file/new")))
    assert.equal("No such file or directory", problem(core.create_beside(dir .. "/nowhere")))
    assert.equal("File name too long", problem(core.create_beside(dir .. ("/x"):rep(4096))))
    assert.same({ "/dev/null", "/dev/null" }, { core.create_beside "/dev/null" })
  end)

  it("new file takes the place of the old one, with its rights", function()
    local beside, target = core.create_beside(dir .. "/file")
    assert.equal(dir .. "/file", (host.must("readlink -f " .. target):gsub("\n", "")))
    assert.equal("640\n", host.must("stat -c %a " .. beside))
    assert.equal("Is a directory", problem(core.replace(beside, dir .. "/folder")))
    assert.is_true(core.replace(beside, target))
    assert.equal("", host.must("cat " .. target))
    assert.equal("No such file or directory", problem(core.replace(beside, target)))
  end)

  it("folder is made with what is missing above it, for its owner alone", function()
    assert.is_true(core.make_folder(dir .. "/a/b//c/"))
    assert.is_true(core.make_folder(dir .. "/a/b"))
    assert.equal("700\n", host.must("stat -c %a " .. dir .. "/a"))
    assert.equal("Not a directory", problem(core.make_folder(dir .. "/file")))
    assert.equal("Not a directory", problem(core.make_folder(dir .. "/file/below")))
    assert.equal("File name too long", problem(core.make_folder(dir .. ("/x"):rep(4096))))
  end)

  it("look at a file's rights tells who else may write or read it", function()
    local function rights(mode)
      host.must(("chmod %s %s/file"):format(mode, dir))
      return { core.file_rights(dir .. "/file") }
    end
    assert.same({ false, false, false }, rights "600")
    assert.same({ false, true, false }, rights "644")
    assert.same({ true, false, false }, rights "620")
    assert.same({ true, false, true }, rights "602")
    assert.same({}, { core.file_rights(dir .. "/folder") })
    assert.same({}, { core.file_rights(dir .. "/gone") })
  end)

  it("width is unknown where there is no terminal", function()
    assert.is_nil(core.terminal_width(99))
  end)

  it("page has its headers by names in lower case, the last of equal ones", function()
    local server = peer.start { { read = "\r\n\r\n" }, { send = "HTTP/1.1 200 OK\r\nEmpty:\r\nX-Two: one\r\nX-Tab:\t \tb\r\n"
      .. "x-two:  two\nContent-Length: 2\r\nConnection: close\r\n\r\nhi" } }
    local url = ("http://%s/"):format(server.address)
    local pages = core.pages()
    local page = assert(pages:get(url, { headers = { "X-Mine: 1" }, timeout = 5, max = 100 }))
    assert.same({ 200, "hi" }, { page.status, page.body })
    assert.same({ empty = "", ["x-two"] = "two", ["x-tab"] = "b", ["content-length"] = "2", connection = "close" },
      page.headers)
    assert.truthy(server.log(1)[1].received:find("X-Mine: 1\r\n", 1, true))
    page = assert(pages:get(url, { head = true, timeout = -1 }))
    assert.same({ 200, "" }, { page.status, page.body })
    assert.truthy(problem(pages:get(url, { max = 1 })))
    assert.truthy(problem(pages:get("gopher://localhost/", {})))
  end)
end)
